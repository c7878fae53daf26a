"""Where records begin and end: the grammar of CSV as patterns over bytes.

DuckDB reads the files. This grammar is for what it does not tell: where a record lies in the file,
where a malformed one ends, and which of the following bytes are good again. The patterns run in C
over many records at once; Python sees only the bad ones.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

MAX_RECORD_BYTES = 2_000_000
"""DuckDB's own limit (`max_line_size`), which sizes its buffers."""

BLANK_LINES_OF_A_RUN = 100
"""So many blank lines may follow one another. DuckDB counts them as bytes of the next record."""

_LINE_END = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_COLUMNS_COUNTED = 100_000  # More are noise, and take long.
_LINES_FOR_PROOF = 3
_LINES_LOOKED_AT = 20
_QUOTES_LOOKED_AT = 100
_QUOTE = b'"'[0]
_SKIP_STEPS = tuple(2**power for power in range(16, -1, -2))

Buffer = bytes | mmap


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read: the bytes [start, end) and why.

    There may be many at a time: the text of the detail is shared, and only its number is their own.
    """

    start: int
    end: int
    reason: str
    detail_text: str
    detail_number: int

    @property
    def detail(self) -> str:
        """More on the reason."""
        return self.detail_text.format(self.detail_number)


class RecordGrammar:
    """RFC 4180 records with a given delimiter, main line end, and number of columns.

    A run of plain records has the main line end only, and few blank lines in a row; elsewhere a
    record may have any.

    Spaces may stand around a quoted value, a quote inside a bare value is a plain character, empty
    surplus values may end a record, and blank lines do not count. A record without such spaces and
    surplus values is plain: DuckDB reads the others now so, now otherwise.
    """

    def __init__(self, delimiter: bytes, newline: bytes, columns: int) -> None:
        self.newline = newline
        self.columns = columns
        self._other_width = f"{{}} columns instead of {columns}"
        self._delimiter = delimiter
        mark, end = re.escape(delimiter), rb"\r(?!\n)" if newline == b"\r" else re.escape(newline)
        quoted = rb'"(?:[^"]++|"")*+"'
        bare = rb'[ ]*+[^" \r\n' + mark + rb"][^\r\n" + mark + rb"]*+|[ ]*+"
        plain_field = rb"(?:" + quoted + rb"|" + bare + rb")"
        field = rb"(?:[ ]*+" + quoted + rb"[ ]*+|" + bare + rb")"
        others = columns - 1
        plain_record = plain_field + rb"(?:" + mark + plain_field + rb"){%d}" % others + end
        surplus = rb"(?:" + mark + rb'(?:[ ]*+""[ ]*+)?+)*+'
        fields = field + rb"(?:" + mark + field + rb"){%d}" % others + surplus
        any_end = rb"(\r\n|\r|\n|\Z)"
        blank = rb"(?:" + end + rb"){1,%d}+(?!" % BLANK_LINES_OF_A_RUN + end + rb")"
        self._run = re.compile(rb"(?:" + plain_record + rb"|" + blank + rb")*+")
        self._skips = [
            (step, re.compile(rb"(?:[\r\n]*+" + fields + rb"(?:\r\n?+|\n)){%d}" % step))
            for step in _SKIP_STEPS
        ]
        self._blank_lines = re.compile(rb"[\r\n]*+")
        self._good = re.compile(fields + any_end)
        self._any_width = re.compile(field + rb"(?:" + mark + field + rb")*+" + any_end)
        self._field = re.compile(field)
        self._opening = re.compile(rb'[ ]*+"')
        self._closing = re.compile(rb'(?:[^"]++|"")*+"')
        self._after_value = re.compile(rb"[ ]*+(?:" + mark + rb"|\r|\n|\Z)")
        self._bare = re.compile(rb"[^\r\n" + mark + rb"]*+")

    def fields(self, record: bytes) -> list[str]:
        """The values of one record, unquoted and without the spaces around them."""
        return [value.strip() for value in self.values(record)]

    def values(self, record: bytes) -> list[str]:
        """The values of one record, unquoted; what is not UTF-8 is replaced."""
        values = []
        for value in self._written_values(record):
            if value.startswith(b'"'):
                value = value[1:-1].replace(b'""', b'"')  # noqa: PLW2901
            values.append(value.decode("utf-8", "replace"))
        return values

    def plain(self, record: bytes) -> bytes:
        """A good record without its line end, made plain."""
        return self._delimiter.join(islice(self._written_values(record), self.columns))

    def _written_values(self, record: bytes) -> Iterator[bytes]:
        """The values of a record as they are written, without the spaces around quoted ones."""
        position = 0
        while True:
            match = self._field.match(record, position)
            value = match[0] if match else b""
            bare = value.strip(b" ")
            yield bare if bare.startswith(b'"') else value
            position = match.end() if match else position
            if record[position : position + 1] != self._delimiter:
                return
            position += 1

    def plain_run_end(self, buffer: Buffer, position: int, before: int) -> int:
        """The end of some plain records from `position` that end at or before `before`.

        They are not longer than one record may be, and so none of them is.
        """
        match = self._run.match(buffer, position, min(before, position + MAX_RECORD_BYTES))
        return match.end() if match else position

    def first_record_at(self, buffer: Buffer, position: int) -> int:
        """The start of the first record at or after a record boundary: past blank lines."""
        match = self._blank_lines.match(buffer, position)
        return match.end() if match else position

    def skip(self, buffer: Buffer, position: int, records: int) -> int | None:
        """The boundary after so many good records; None where there are not so many in a row."""
        for step, pattern in self._skips:
            while records >= step:
                match = pattern.match(buffer, position)
                if match is None:
                    break
                position = match.end()
                records -= step
        return position if records == 0 else None

    def count(self, buffer: Buffer, position: int) -> int | None:
        """How many records follow a record boundary; None where one of them is bad."""
        counted = 0
        for step, pattern in self._skips:
            while match := pattern.match(buffer, position):
                position = match.end()
                counted += step
        position = self.first_record_at(buffer, position)
        if position == len(buffer):
            return counted
        last = self.good_record(buffer, position)
        return counted + 1 if last and last[1] == len(buffer) else None

    def good_record(self, buffer: Buffer, start: int) -> tuple[int, int] | None:
        """The end of a good record's text and of its line end, whatever that is; None if bad."""
        match = self._good.match(buffer, start, start + MAX_RECORD_BYTES + 1)
        if match is None or match.end() - start > MAX_RECORD_BYTES:
            return None
        return match.start(1), match.end()

    def header_record(self, buffer: bytes, start: int) -> tuple[int, int] | None:
        """The end of the text and of the line end of a good record, however many its columns."""
        match = self._any_width.match(buffer, start)
        return None if match is None else (match.start(1), match.end())

    def bad_record(self, buffer: Buffer, start: int) -> BadRecord:
        """What is wrong with the record at `start`, and where the next one begins."""
        position, found = start, 0
        while found < _COLUMNS_COUNTED:
            found += 1
            if opening := self._opening.match(buffer, position):
                value = opening.end()
                closing = self._closing.match(buffer, value)
                if closing is None or self._is_stray(buffer, value, closing.end() - 1):
                    detail = "the quote at byte {} is never closed"
                    end = _line_end(buffer, value)
                    return BadRecord(start, end, "unclosed quote", detail, value - 1)
                position = closing.end()
                if not self._ends_value(buffer, position):
                    detail = "text after the closing quote at byte {}"
                    end = _line_end(buffer, position)
                    return BadRecord(start, end, "text after a closing quote", detail, position - 1)
            position = self._bare.match(buffer, position).end()  # type: ignore[union-attr]
            if buffer[position : position + 1] != self._delimiter:
                break
            position += 1
        end = _line_end(buffer, position)
        if end - start > MAX_RECORD_BYTES:
            return BadRecord(
                start, end, "record too long", "longer than {:,} bytes", MAX_RECORD_BYTES
            )
        side = "missing columns" if found < self.columns else "too many columns"
        return BadRecord(start, end, side, self._other_width, found)

    def _ends_value(self, buffer: Buffer, position: int) -> bool:
        return self._after_value.match(buffer, position) is not None

    def _is_stray(self, buffer: Buffer, value: int, closing: int) -> bool:
        """Whether a quote before `value` opens nothing, though another, `closing`, follows.

        So it seems where that one, on a later line, opens a value itself, and where most of the
        lines between them are good records. Then only the line of the stray quote is bad. One or
        two lines are no proof: text with commas looks like that.
        """
        if buffer.find(b"\n", value, closing) < 0 and buffer.find(b"\r", value, closing) < 0:
            return False
        opening = closing  # Of a value that may begin with quotes of its own: ,"""big"" lamp"
        while opening > max(value, closing - _QUOTES_LOOKED_AT) and buffer[opening - 1] == _QUOTE:
            opening -= 1
        before = buffer[opening - 1 : opening]
        if before in {self._delimiter, b"\n", b"\r"} and not self._ends_value(buffer, closing + 1):
            return True
        position, lines, good_lines = _line_end(buffer, value), 0, 0
        while position <= closing and lines < _LINES_LOOKED_AT:
            good = self.good_record(buffer, position)
            position = good[1] if good else _line_end(buffer, position)
            lines += 1
            good_lines += good is not None
        return lines >= _LINES_FOR_PROOF and good_lines > lines / 2


def _line_end(buffer: Buffer, position: int) -> int:
    match = _LINE_END.match(buffer, position)
    return match.end() if match else len(buffer)
