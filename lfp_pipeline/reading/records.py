"""Where records begin and end: the grammar of CSV as patterns over bytes.

DuckDB reads the files. This grammar is for what it does not tell: where a record lies in the file,
where a malformed one ends, and which of the following bytes are good again. The patterns run in C
over many records at once; Python sees only the bad ones.
"""

import re
from dataclasses import dataclass
from mmap import mmap

MAX_RECORD_BYTES = 2_000_000
"""DuckDB's own limit (`max_line_size`), which sizes its buffers."""

_LINE_END = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_SKIP_STEPS = tuple(2**power for power in range(16, -1, -2))

Buffer = bytes | mmap


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be read: the bytes [start, end) and why."""

    start: int
    end: int
    reason: str
    detail: str


class RecordGrammar:
    """RFC 4180 records with a given delimiter, main line end, and number of columns.

    As in DuckDB, spaces may stand around a quoted value, a quote inside a bare value is a plain
    character, one surplus delimiter may end a record, and blank lines do not count.
    """

    def __init__(self, delimiter: bytes, newline: bytes, columns: int) -> None:
        self.newline = newline
        self.columns = columns
        self._delimiter = delimiter
        mark, end = re.escape(delimiter), re.escape(newline)
        quoted = rb'[ ]*+"(?:[^"]++|"")*+"[ ]*+'
        field = rb"(?:" + quoted + rb'|[ ]*+[^" \r\n' + mark + rb"][^\r\n" + mark + rb"]*+|[ ]*+)"
        fields = field + rb"(?:" + mark + field + rb"){%d}" % (columns - 1)
        record = fields + mark + rb"?+" + end
        any_end = rb"(\r\n|\r|\n|\Z)"
        self._run = re.compile(rb"(?:" + record + rb"|" + end + rb")*+")
        self._skips = [
            (step, re.compile(rb"(?:(?:" + end + rb")*+" + record + rb"){%d}" % step))
            for step in _SKIP_STEPS
        ]
        self._blank_lines = re.compile(rb"[\r\n]*+")
        self._good = re.compile(fields + mark + rb"?+" + any_end)
        self._any_width = re.compile(field + rb"(?:" + mark + field + rb")*+" + any_end)
        self._field = re.compile(field)
        self._opening = re.compile(rb'[ ]*+"')
        self._closing = re.compile(rb'(?:[^"]++|"")*+"')
        self._after_value = re.compile(rb"[ ]*+(?:" + mark + rb"|\r\n|\r|\n|\Z)")

    def fields(self, record: bytes) -> list[str]:
        """The values of one record, unquoted and without the spaces around them."""
        values, position = [], 0
        while True:
            match = self._field.match(record, position)
            value = match[0].strip() if match else b""
            if value.startswith(b'"'):
                value = value[1:-1].replace(b'""', b'"')
            values.append(value.decode("utf-8", "replace").strip())
            position = match.end() if match else position
            if record[position : position + 1] != self._delimiter:
                return values
            position += 1

    def good_run_end(self, buffer: Buffer, position: int, before: int) -> int:
        """The end of the good records from `position` that end at or before `before`."""
        match = self._run.match(buffer, position, before)
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
        limit = min(start + MAX_RECORD_BYTES, len(buffer))
        match = self._good.match(buffer, start, limit)
        if match is None or (match.end() == limit < len(buffer) and not match[1]):
            return None
        return match.start(1), match.end()

    def bad_record(self, buffer: Buffer, start: int) -> BadRecord:
        """What is wrong with the record at `start`, and where the next one begins."""
        limit = min(start + MAX_RECORD_BYTES, len(buffer))
        match = self._any_width.match(buffer, start, limit)
        if match is not None and (match[1] or match.end() == len(buffer)):
            found = len(self.fields(match[0]))
            side = "missing columns" if found < self.columns else "too many columns"
            detail = f"{found} columns instead of {self.columns}"
            return BadRecord(start, match.end(), side, detail)
        return self._broken_quotes(buffer, start, limit)

    def _broken_quotes(self, buffer: Buffer, start: int, limit: int) -> BadRecord:
        position = self._quoted_value_from(buffer, start, limit)
        while position is not None:
            value = position
            closing = self._closing.match(buffer, value, limit)
            if closing is None or self._opens_a_later_value(buffer, value, closing.end() - 1):
                # Nothing closes the quote, or only a quote that opens another value does: it was
                # a stray one. Its line is bad; the lines after it are read as if it were closed.
                detail = f"the quote at byte {value - 1} is never closed"
                return BadRecord(start, _line_end(buffer, value), "unclosed quote", detail)
            after = self._after_value.match(buffer, closing.end(), limit)
            if after is None:
                detail = f"text after the closing quote at byte {closing.end() - 1}"
                end = _line_end(buffer, closing.end())
                return BadRecord(start, end, "text after a closing quote", detail)
            position = self._quoted_value_from(buffer, after.end(), limit)
        detail = f"longer than {MAX_RECORD_BYTES:,} bytes"
        return BadRecord(start, _line_end(buffer, limit), "record too long", detail)

    def _quoted_value_from(self, buffer: Buffer, position: int, limit: int) -> int | None:
        """The inside of the next quoted value of this record, past any bare ones."""
        while not (opening := self._opening.match(buffer, position, limit)):
            match = self._field.match(buffer, position, limit)
            end = match.end() if match else position
            if buffer[end : end + 1] != self._delimiter:
                return None
            position = end + 1
        return opening.end()

    def _opens_a_later_value(self, buffer: Buffer, value: int, quote: int) -> bool:
        if quote == value or buffer[quote - 1 : quote] not in {self._delimiter, b"\n", b"\r"}:
            return False
        inside = buffer[value:quote]
        return b"\n" in inside or b"\r" in inside


def _line_end(buffer: Buffer, position: int) -> int:
    match = _LINE_END.match(buffer, position)
    return match.end() if match else len(buffer)
