"""A second reader of dirty CSV, slow and plain: one byte at a time, with no regex and no DuckDB.

It says what a file of UTF-8 holds, record by record. The tests hold the real reader to it.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

QUOTES_LOOKED_AT = 100
"""A value may begin with so many quotes of its own. More are noise, and take long to look at."""

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
    """One record: its bytes [start, end), and its values, or why it has none, or why it is skipped.

    Attributes:
        slip: what is wrong with its quotes.
        surplus: whether its last cell is not empty.
        reason: why it is a reject.
        skipped: `blank` or `header`.
    """

    start: int
    end: int
    values: list[bytes]
    slip: str = ""
    surplus: bool = False
    reason: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Habits:
    """What the writer of a file does throughout.

    Attributes:
        width: cells of a record.
        fewest: of one whose last cells are left out.
        last_empty: whether each ends in a delimiter.
        backslash: whether a backslash escapes a quote.
        bare_quotes: whether a quote in a value without quotes is none.
    """

    width: int
    fewest: int
    last_empty: bool = False
    backslash: bool = False
    bare_quotes: bool = False


@dataclass
class Tally:
    """How many records there are of each kind."""

    widths: Counter[int] = field(default_factory=Counter)
    delimiter_at_end: int = 0
    stray: int = 0
    broken: int = 0
    slips: int = 0
    quoted: bool = False
    short_run: int = 0
    longest_short_run: int = 0


class Oracle:
    """The records of a file from `start` on.

    Args:
        data: the file.
        start: where its first record begins.
        delimiter: between values.
        header: its columns; those without a name are empty.
        limit: bytes of the longest record.
        require_all: whether no cell may be left out.
    """

    def __init__(
        self,
        data: bytes,
        start: int,
        delimiter: str,
        header: Sequence[str],
        limit: int = 2_000_000,
        *,
        require_all: bool = False,
    ) -> None:
        self.data = data
        self.start = start
        self.delimiter = ord(delimiter)
        self.header = header
        self.limit = limit
        self.needed = 1 + max(header.index("sku"), header.index("name"))
        self.habits = Habits(len(header), self.needed)
        self.habits = self.habits_found(require_all=require_all)

    # What the writer does

    def habits_found(self, *, require_all: bool) -> Habits:
        tally, backslash = self.tally(), False
        records = tally.widths.total() + tally.broken
        if tally.slips and b'\\"' in self.data[self.start :]:
            self.habits = replace(self.habits, backslash=True)
            other = self.tally()
            if tally.slips >= min(3, records) and other.slips * 10 <= tally.slips:
                tally, backslash = other, True
        records = tally.widths.total() + tally.broken

        def habit(count: int) -> bool:
            return count >= 3 and count * 10 >= records

        bare_quotes = (not tally.quoted or habit(tally.stray)) and not backslash
        width = fewest = len(self.header)
        if tally.delimiter_at_end and tally.delimiter_at_end * 10 >= records * 9:
            return Habits(width + 1, width + 1, True, backslash, bare_quotes)
        named = max(place for place, name in enumerate(self.header, 1) if name)
        most = max(tally.widths[cells] for cells in range(named, width + 1))
        common = max(c for c in range(named, width + 1) if tally.widths[c] == most)
        width = max(c for c in range(named, width + 1) if c == common or habit(tally.widths[c]))
        fewest = self.needed
        short = sum(tally.widths[cells] for cells in range(fewest, common))
        many = habit(short) or (short and tally.longest_short_run >= 15)
        longest = max((c for c in range(fewest, width + 1) if tally.widths[c]), default=0)
        wanted = max(self.header.index(name) for name in ("sku", "name", "description"))
        split = not all(self.header[:named]) or (named > 3 and longest <= wanted)
        shifted = longest == width - 1 and split
        if not many or shifted or require_all:
            fewest = common
        return Habits(width, fewest, False, backslash, bare_quotes)

    def tally(self) -> Tally:
        tally, full = Tally(), len(self.header)
        named = max(place for place, name in enumerate(self.header, 1) if name)
        position = self.past_empty_lines(self.start)
        while position < len(self.data):
            record = self.look(position)
            with suppress(AnotherHeaderError):  # It is one kind of record, as far as that goes.
                if self.repeats_header(position):
                    position = self.past_empty_lines(record.end)
                    continue
            tally.slips += bool(record.slip)
            if record.slip not in ("", "stray quote"):
                tally.broken += 1
            elif not self.is_blank(record):
                cells = len(record.values)
                tally.widths[cells] += 1
                tally.stray += bool(record.slip) and self.needed <= cells <= full + 1
                tally.delimiter_at_end += cells == full + 1 and not record.surplus
                tally.short_run = tally.short_run + 1 if self.needed <= cells < named else 0
                tally.longest_short_run = max(tally.longest_short_run, tally.short_run)
                if not record.slip:
                    quotes = self.data.count(b'"', record.start, record.end)
                    tally.quoted |= quotes > 2 * sum(map(self.is_formula, record.values))
            position = self.past_empty_lines(record.end)
        return tally

    # Its records

    def records(self) -> list[Record]:
        found: list[Record] = []
        position = self.past_empty_lines(self.start)
        while position < len(self.data):
            last = found[-1] if found else None
            if last and not last.reason and not last.skipped and not self.habits.bare_quotes:
                end = None if self.is_blank(last) else self.broken_text_end(last.end)
                if end is not None:
                    found[-1] = Record(last.start, end, [], reason="stray quote")
                    position = self.past_empty_lines(end)
                    continue
            record = self.record(position)
            assert record.end > record.start
            found.append(record)
            position = self.past_empty_lines(record.end)
        return found

    def empty_lines(self) -> int:
        count, position = 0, self.start
        for start, end in [*((r.start, r.end) for r in self.records()), (len(self.data), 0)]:
            while position < start:
                count += 1
                position = self.past_line_end(position)
            position = end
        return count

    def past_empty_lines(self, position: int) -> int:
        while position < len(self.data) and self.data[position] in (CR, LF):
            position += 1
        return position

    def record(self, start: int) -> Record:
        record = self.look(start)
        reason = record.slip or self.wrong_width(record)
        if not reason and record.end - start > self.limit:
            reason = "record too long"
        if reason and self.is_blank(record):
            return replace(record, skipped="blank")
        if reason and self.repeats_header(start):
            return replace(record, skipped="header")
        if reason:
            return replace(record, reason=reason)
        try:
            self.data[start : record.end].decode()
        except UnicodeDecodeError:
            return replace(record, reason="invalid encoding")
        padding = [b""] * (len(self.header) - len(record.values))
        return replace(record, values=[*record.values, *padding])

    def wrong_width(self, record: Record) -> str:
        habits, cells = self.habits, len(record.values)
        if cells < habits.fewest:
            return "missing columns"
        if cells > habits.width or (habits.last_empty and record.surplus):
            return "too many columns"
        return ""

    def is_blank(self, record: Record) -> bool:
        """Whether each cell is blank; or blank, quotes with blanks in them, and blank again."""
        text = self.data[record.start : record.end].rstrip(b"\r\n").decode("utf-8", "replace")
        blanks = BLANKS - {chr(self.delimiter)}
        for cell in text.split(chr(self.delimiter)):
            bare = cell
            while bare and bare[0] in blanks:
                bare = bare[1:]
            while bare and bare[-1] in blanks:
                bare = bare[:-1]
            if bare and not (len(bare) > 1 and bare[0] == bare[-1] == '"'):
                return False
            if any(character not in blanks for character in bare[1:-1]):
                return False
        return True

    def repeats_header(self, start: int) -> bool:
        """Whether a record, after byte order marks, names the columns at their places.

        Raises:
            AnotherHeaderError: it names others, or at other places.
        """
        end = self.look(start).end
        text = self.data[start:end].rstrip(b"\r\n")
        while text.startswith(b"\xef\xbb\xbf"):
            text = text[3:]
        alone = object.__new__(Oracle)
        alone.__dict__ |= self.__dict__ | {"data": text}
        record = alone.look(0)
        names = [bare_name(value.decode("utf-8", "replace")) for value in record.values]
        wanted = ("sku", "name", "description")
        found = [names[place] for name in wanted if (place := self.header.index(name)) < len(names)]
        return not record.slip and is_header(found)

    def look(self, start: int) -> Record:
        """Look at each cell: a quoted one goes over line ends, the record to the next line end."""
        position, values, slip = start, [], ""
        while True:
            begin, value = position, b""
            inside = self.inside_quotes(position)
            if inside is None:
                position = self.bare_end(position)
                value = self.data[begin:position]
                if QUOTE in value and not self.habits.bare_quotes and not self.is_formula(value):
                    slip = slip or "stray quote"
            else:
                close = self.closing_quote(inside)
                if close is None or self.is_stray(start, inside, close):
                    slip = slip or "unclosed quote"
                    position = self.bare_end(inside)
                else:
                    end = close + 1
                    if not self.ends_value(end):
                        slip = slip or "text after a closing quote"
                        end = self.later_close(end)
                    position = self.bare_end(end)
                    value = self.unescaped(self.data[inside:close])
            values.append(value)
            if not self.at(position, self.delimiter):
                last = self.data[begin:position].strip(b" ")
                surplus = last not in (b"", b'""')
                return Record(start, self.past_line_end(position), values, slip, surplus)
            position += 1

    def is_formula(self, value: bytes) -> bool:
        whole = value.startswith(b'="') and value.endswith(b'"') and len(value) > 2
        return (
            whole
            and not self.habits.backslash
            and self.delimiter != EQUALS
            and QUOTE not in value[2:-1]
        )

    def later_close(self, position: int) -> int:
        """After text behind a closing quote: the end of the quote that closes the value after all.

        In the next 20 lines, before a quote that may begin a value; among the next 100 quotes.
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
        """A quoted value; what a backslash escapes in a bare one is found there, too."""
        if self.habits.backslash:
            return text.replace(b"\\\\", b"\0\1").replace(b'\\"', b'"').replace(b"\0\1", b"\\\\")
        return text.replace(b'""', b'"')

    def inside_quotes(self, position: int) -> int | None:
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
        """Whether the quote before `inside` is a slip: the next one is no answer to it.

        Where the other ends a value, they are a pair, unless it could begin one, too, and the
        record is one line that ends there, and is whole only without them. Elsewhere, the first is
        a slip where the other begins a value, or where they are 20 lines apart, on two lines that
        have as many delimiters as a record.
        """
        begin = close
        while begin > max(inside, close - QUOTES_LOOKED_AT) and self.data[begin - 1] == QUOTE:
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
            self.habits.fewest == self.habits.width
            and close < end
            and self.data[close + 1 : end].strip(b" \r\n") == b""
            and self.is_whole_line(start)
        )

    def broken_text_end(self, position: int) -> int | None:
        """The end of lines that have fewer delimiters than a record, and one quote, at their end.

        It ends a quoted value: it can begin none.
        """
        delimiters = 0
        for _ in range(20):
            if position >= len(self.data):
                return None
            end = self.line_end(position)
            if end - position > self.limit:
                return None
            line = self.data[position:end].rstrip(b"\r\n ")
            delimiters += line.count(self.delimiter)
            if delimiters >= self.habits.fewest - 1:
                return None
            if QUOTE in line:
                begins = (*b" =\r\n", self.delimiter)
                ends = line.index(QUOTE) == len(line) - 1 > 0 and line[-2] not in begins
                return end if ends else None
            position = end
        return None

    def is_whole_line(self, position: int) -> bool:
        begin = position
        while begin > 0 and self.data[begin - 1] not in (CR, LF):
            begin -= 1
        end = self.line_end(position)
        cells = 1 + self.data[begin:end].count(self.delimiter)
        return end - begin <= self.limit and self.habits.fewest <= cells <= self.habits.width

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

    def past_spaces(self, position: int) -> int:
        while self.at(position, SPACE):
            position += 1
        return position

    def at(self, position: int, byte: int) -> bool:
        return position < len(self.data) and self.data[position] == byte


class AnotherHeaderError(Exception):
    """A row names other columns than the header does, or in another order."""


def is_header(names: Sequence[str]) -> bool:
    """Whether sku, name and description of a row are the names of these columns.

    Raises:
        AnotherHeaderError: two of them are the names of other columns.
    """
    wanted = ["sku", "name", "description"]
    if names == wanted:
        return True
    if len({*names[:2]} & {*wanted}) == 2:
        raise AnotherHeaderError
    return False


def bare_name(text: str) -> str:
    """A name as a header is compared: in small letters, without blanks and quotes."""
    return "".join(mark for mark in text if mark not in BLANKS | {"\r", "\n", '"'}).lower()
