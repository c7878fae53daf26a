"""A second reader of dirty CSV, slow and plain: one byte at a time, with no regex and no DuckDB.

It says what a file of UTF-8 holds, record by record. The tests hold the real reader to it.
"""

from dataclasses import dataclass

QUOTES_LOOKED_AT = 100
"""A value may begin with so many quotes of its own. More are noise, and take long to look at."""

CR, LF, SPACE, QUOTE = b"\r"[0], b"\n"[0], b" "[0], b'"'[0]


@dataclass(frozen=True)
class Record:
    """One record: its bytes [start, end), and its values, or why it has none."""

    start: int
    end: int
    values: list[bytes] | None = None
    reason: str = ""


class UnclosedQuoteError(Exception):
    """A quoted value whose quote is never closed."""


class TextAfterQuoteError(Exception):
    """Text follows the closing quote."""

    def __init__(self, quote: int) -> None:
        super().__init__(quote)
        self.quote = quote


class Oracle:
    """The records of a file from `start` on."""

    def __init__(self, data: bytes, delimiter: str, columns: int, limit: int = 2_000_000) -> None:
        self.data = data
        self.delimiter = ord(delimiter)
        self.columns = columns
        self.limit = limit

    def records(self, start: int) -> list[Record]:
        found, position = [], self.past_blank_lines(start)
        while position < len(self.data):
            record = self.record(position)
            assert record.end > record.start
            found.append(record)
            position = self.past_blank_lines(record.end)
        return found

    def past_blank_lines(self, position: int) -> int:
        while position < len(self.data) and self.data[position] in (CR, LF):
            position += 1
        return position

    def record(self, start: int) -> Record:
        try:
            values, position = self.values(start)
        except (UnclosedQuoteError, TextAfterQuoteError):
            return self.broken(start)
        end = self.past_line_end(position)
        if not self.is_good(values, end - start):
            return self.broken(start)
        try:
            self.data[start:end].decode()
        except UnicodeDecodeError:
            return Record(start, end, reason="invalid encoding")
        return Record(start, end, values[: self.columns])

    def values(self, position: int) -> tuple[list[bytes], int]:
        values = []
        while True:
            value, position = self.value(position)
            values.append(value)
            if not self.at(position, self.delimiter):
                return values, position
            position += 1

    def value(self, position: int) -> tuple[bytes, int]:
        inside = self.inside_quotes(position)
        if inside is None:
            end = position
            while end < len(self.data) and self.data[end] not in (self.delimiter, CR, LF):
                end += 1
            return self.data[position:end], end
        close = self.closing_quote(inside)
        end = self.past_spaces(close + 1)
        if end < len(self.data) and self.data[end] not in (self.delimiter, CR, LF):
            raise TextAfterQuoteError(close)
        return self.data[inside:close].replace(b'""', b'"'), end

    def inside_quotes(self, position: int) -> int | None:
        position = self.past_spaces(position)
        return position + 1 if self.at(position, QUOTE) else None

    def closing_quote(self, position: int) -> int:
        while position < len(self.data):
            if self.data[position] != QUOTE:
                position += 1
            elif self.at(position + 1, QUOTE):
                position += 2
            else:
                return position
        raise UnclosedQuoteError

    def broken(self, start: int) -> Record:
        """The first quoted value that is not what it seems ends the record at its line's end."""
        position, columns = start, 0
        while True:
            inside = self.inside_quotes(position)
            if inside is not None and self.is_stray(inside):
                return Record(start, self.line_end(inside), reason="unclosed quote")
            try:
                position = self.value(position)[1]
            except TextAfterQuoteError as text:
                end = self.line_end(text.quote + 1)
                return Record(start, end, reason="text after a closing quote")
            columns += 1
            if not self.at(position, self.delimiter):
                break
            position += 1
        end = self.past_line_end(position)
        if end - start > self.limit:
            return Record(start, end, reason="record too long")
        side = "missing columns" if columns < self.columns else "too many columns"
        return Record(start, end, reason=side)

    def is_stray(self, inside: int) -> bool:
        """Whether the quote before `inside` is a slip: the next one is no answer to it.

        That is so where none follows, or where the text between them goes over a line end, and the
        other stands where a value begins and none ends (maybe after 100 more quotes), or there are
        three or more records after the first line, and of the first twenty more than half are good.
        """
        try:
            close = self.closing_quote(inside)
        except UnclosedQuoteError:
            return True
        text = self.data[inside:close]
        if CR not in text and LF not in text:
            return False
        after = self.past_spaces(close + 1)
        ends = after == len(self.data) or self.data[after] in (self.delimiter, CR, LF)
        begin = text.rstrip(b'"')
        near = len(text) - len(begin) <= QUOTES_LOOKED_AT
        if near and begin[-1] in (self.delimiter, CR, LF) and not ends:
            return True
        position, good = self.line_end(inside), []
        while position <= close and len(good) < 20:
            if self.data[position] in (CR, LF):
                good.append(False)
                position = self.past_line_end(position)
                continue
            end = self.good_end(position)
            good.append(end is not None)
            position = end or self.line_end(position)
        return len(good) >= 3 and sum(good) > len(good) / 2

    def good_end(self, start: int) -> int | None:
        try:
            values, position = self.values(start)
        except (UnclosedQuoteError, TextAfterQuoteError):
            return None
        end = self.past_line_end(position)
        return end if self.is_good(values, end - start) else None

    def is_good(self, values: list[bytes], length: int) -> bool:
        """Surplus values are no harm where they are empty."""
        surplus = values[self.columns :]
        return len(values) >= self.columns and not any(surplus) and length <= self.limit

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
