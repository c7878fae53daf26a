"""Where cells and records end, byte by byte."""

from dataclasses import dataclass

MAX_LEADING_QUOTES = 100
"""A value may begin with so many quotes of its own; the reader looks no further back."""

CR, LF, SPACE, QUOTE, BACKSLASH, EQUALS = b'\r\n "\\='

BLANKS = {
    *"\t\x0b\x0c\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000",
    *map(chr, range(0x2000, 0x200B)),  # spaces of all widths
    *"\xad\u034f\u061c\u180e\ufeff",
    *map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]),
}
"""White space and characters without a width."""


@dataclass(frozen=True)
class Record:
    """One record: its bytes [start, end) and its values.

    Attributes:
        quote_error: what is wrong with its quotes; empty: nothing.
        has_surplus: whether its last cell is not empty.
        reason: why it is a reject; empty: it is accepted.
        skipped: `blank` or `header`; empty: it is a row or a reject.
    """

    start: int
    end: int
    values: list[bytes]
    quote_error: str = ""
    has_surplus: bool = False
    reason: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Habits:
    """How the writer of a file writes all records.

    Attributes:
        width: cells of a record.
        min_width: cells of a record whose last cells are left out.
        last_empty: whether each record ends in a delimiter.
        backslash: whether a backslash escapes a quote.
        bare_quotes: whether a quote within an unquoted value is an ordinary character.
    """

    width: int
    min_width: int
    last_empty: bool = False
    backslash: bool = False
    bare_quotes: bool = False


class Cells:
    """Parses one record at a position, under the present habits.

    Attributes:
        limit: bytes of the longest record.
        habits: under which cells are cut; they change as they are found out.
    """

    def __init__(self, data: bytes, delimiter: str, limit: int, habits: Habits) -> None:
        self.data = data
        self.delimiter = ord(delimiter)
        self.limit = limit
        self.habits = habits

    def parse(self, start: int) -> Record:
        """Parse the record that begins at `start`; only quoted cells contain line ends."""
        position, values, error = start, [], ""
        while True:
            begin, value = position, b""
            inside = self.inside_quotes(position)
            if inside is None:
                position = self.bare_end(position)
                value = self.data[begin:position]
                if QUOTE in value and not self.habits.bare_quotes and not self.is_formula(value):
                    error = error or "stray quote"
            else:
                close = self.closing_quote(inside)
                if close is None or self.is_stray(start, inside, close):
                    error = error or "unclosed quote"
                    position = self.bare_end(inside)
                else:
                    end = close + 1
                    if not self.ends_value(end):
                        error = error or "text after a closing quote"
                        end = self.later_close(end)
                    position = self.bare_end(end)
                    value = self.unescaped(self.data[inside:close])
            values.append(value)
            if not self.at(position, self.delimiter):
                last = self.data[begin:position].strip(b" ")
                has_surplus = last not in (b"", b'""')
                return Record(start, self.past_line_end(position), values, error, has_surplus)
            position += 1

    def is_formula(self, value: bytes) -> bool:
        """Whether an unquoted value is a formula that is nothing but a text: ="007"."""
        whole = value.startswith(b'="') and value.endswith(b'"') and len(value) > 2
        return (
            whole
            and not self.habits.backslash
            and self.delimiter != EQUALS
            and QUOTE not in value[2:-1]
        )

    def later_close(self, position: int) -> int:
        """Return the position after the quote that closes the value after all, or `position`.

        It must stand within 20 lines, before a quote that may begin a value, and among the next 100
        quotes.
        """
        end, quotes = position, 0
        for _ in range(20):
            end = self.line_end(end)
        for place in range(position, end):
            if self.data[place] != QUOTE:
                continue
            before = self.data[position:place].rstrip(b" ")
            first = before[-1] if before else self.data[position - 1]
            if self.habits.bare_quotes or quotes == 100 or first in (self.delimiter, CR, LF):
                return position
            if self.ends_value(place + 1):
                return place + 1
            quotes += 1
        return position

    def unescaped(self, text: bytes) -> bytes:
        """Return the value that the text between two quotes stands for."""
        if self.habits.backslash:
            return text.replace(b"\\\\", b"\0\1").replace(b'\\"', b'"').replace(b"\0\1", b"\\\\")
        return text.replace(b'""', b'"')

    def inside_quotes(self, position: int) -> int | None:
        """Return the position after the opening quote of a cell; None: the cell is not quoted."""
        position = self.past_spaces(position)
        return position + 1 if self.at(position, QUOTE) else None

    def closing_quote(self, position: int) -> int | None:
        while position < len(self.data):
            if self.data[position] == BACKSLASH and self.habits.backslash:
                position += 2
            elif self.data[position] != QUOTE:
                position += 1
            elif self.at(position + 1, QUOTE) and not self.habits.backslash:
                position += 2
            else:
                return position
        return None

    def is_stray(self, start: int, inside: int, close: int) -> bool:
        """Whether the quote before `inside` is stray, so that `close` does not close it.

        Where `close` ends a value, the two quotes are a pair. The exception: `close` could begin a
        value, too, and the record is one line that ends there, and is whole only without quotes.
        Elsewhere, the first quote is stray where `close` begins a value, or where the two are 20
        lines apart, on two lines that have as many delimiters as a record.
        """
        begin = close
        while begin > max(inside, close - MAX_LEADING_QUOTES) and self.data[begin - 1] == QUOTE:
            begin -= 1
        may_begin = self.data[begin - 1] in (self.delimiter, CR, LF)
        if self.ends_value(close + 1):
            return may_begin and self.is_record_without_quotes(start, close)
        whole = self.is_whole_line(inside - 1) and self.is_whole_line(close)
        lines_after = inside
        for _ in range(20):
            lines_after = self.line_end(lines_after)
        return may_begin or (lines_after <= close and whole)

    def is_record_without_quotes(self, start: int, close: int) -> bool:
        end = self.line_end(start)
        return (
            self.habits.min_width == self.habits.width
            and close < end
            and self.data[close + 1 : end].strip(b" \r\n") == b""
            and self.is_whole_line(start)
        )

    def is_whole_line(self, position: int) -> bool:
        begin = position
        while begin > 0 and self.data[begin - 1] not in (CR, LF):
            begin -= 1
        end = self.line_end(position)
        cells = 1 + self.data[begin:end].count(self.delimiter)
        return end - begin <= self.limit and self.habits.min_width <= cells <= self.habits.width

    def ends_value(self, position: int) -> bool:
        after = self.past_spaces(position)
        return after == len(self.data) or self.data[after] in (self.delimiter, CR, LF)

    def bare_end(self, position: int) -> int:
        while position < len(self.data) and self.data[position] not in (self.delimiter, CR, LF):
            position += 1
        return position

    def line_end(self, position: int) -> int:
        while position < len(self.data) and self.data[position] not in (CR, LF):
            position += 1
        return self.past_line_end(position)

    def past_line_end(self, position: int) -> int:
        if self.at(position, CR) and self.at(position + 1, LF):
            return position + 2
        return min(position + 1, len(self.data))

    def past_empty_lines(self, position: int) -> int:
        while position < len(self.data) and self.data[position] in (CR, LF):
            position += 1
        return position

    def past_spaces(self, position: int) -> int:
        while self.at(position, SPACE):
            position += 1
        return position

    def at(self, position: int, byte: int) -> bool:
        return position < len(self.data) and self.data[position] == byte
