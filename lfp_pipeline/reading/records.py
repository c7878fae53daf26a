"""The grammar of CSV records, as patterns over bytes.

DuckDB reads the files. This grammar finds what DuckDB does not report: where a record lies in the
file, and where good records continue after a bad one. The patterns run in C over many records at
once; Python looks only at the bad ones.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path

from lfp_pipeline.reading.white_space import blank_bytes

_LINE_END = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
LINE_END = re.compile(rb"\r\n|\r|\n")

_ANY_END = rb"(\r\n|\r|\n|\Z)"
EMPTY_CELL = rb'[ ]*+(?:""[ ]*+)?+'
_EMPTY_LINES = re.compile(rb"[\r\n]*+")
_BACKSLASHED = re.compile(rb'\\(["\\])')
_SKIP_STEPS = tuple(2**power for power in range(16, -1, -2))

Buffer = bytes | mmap


@contextmanager
def mapped(path: Path) -> Iterator[mmap]:
    """Map a file into memory for the block; the file must not be empty."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        yield buffer


@dataclass(frozen=True)
class RecordForm:
    """The form of a file's records.

    Attributes:
        delimiter: one byte.
        newline: the main line end; a record may have another.
        width: number of cells of a record.
        fewest: number of cells of the shortest record, if the writer leaves out empty cells at the
            end; otherwise `width`.
        last_empty: whether every record ends in a delimiter; the cell after it must be empty.
        backslash: whether a backslash escapes a quote inside a quoted value, instead of a quote.
        bare_quotes: whether a quote inside an unquoted value is an ordinary character, not a slip.
        max_bytes: size of the longest record, in bytes.
        any_full: whether any of the records looked at has all cells.
        any_quoted: whether any of the values looked at is quoted.
    """

    delimiter: bytes
    newline: bytes
    width: int
    fewest: int
    last_empty: bool = False
    backslash: bool = False
    bare_quotes: bool = False
    max_bytes: int = 2_000_000
    any_full: bool = True
    any_quoted: bool = False


class RecordGrammar:
    """RFC 4180 records in a given form.

    Spaces may stand around a quoted value, and empty lines between records. A record without such
    spaces is plain; DuckDB reads the others in more than one way. All records of a run of plain
    records have the main line end; elsewhere a record may have any line end.
    """

    def __init__(self, form: RecordForm, *, stop_before: bytes = rb"(?!)") -> None:
        """Compile the patterns.

        At records that begin with the pattern `stop_before`, `skip_filled` stops.
        """
        self.form = form
        self._stop_before = stop_before
        self._mark = mark = re.escape(form.delimiter)
        in_quotes = rb'(?:[^"\\]++|\\[\x00-\xff])*+' if form.backslash else rb'(?:[^"]++|"")*+'
        self._to_closing = in_quotes + rb'"'
        quoted = rb'"' + self._to_closing
        no_formula = form.delimiter == b"=" or form.backslash
        self._formula = formula = rb"(?!)" if no_formula else rb'="[^"\r\n' + mark + rb']*+"'
        any_bare = rb'[ ]*+[^" \r\n' + mark + rb"][^\r\n" + mark + rb"]*+|[ ]*+"
        bare = any_bare
        if not form.bare_quotes:
            bare = formula + rb'|[ ]*+[^" \r\n' + mark + rb'][^"\r\n' + mark + rb"]*+|[ ]*+"
        self._plain_fields = self._fields(rb"(?:" + quoted + rb"|" + bare + rb")", rb'(?:"")?+')
        spaced = rb"(?:[ ]*+" + quoted + rb"[ ]*+|" + bare + rb")"
        self._good_fields = self._fields(spaced, EMPTY_CELL)
        any_field = rb"(?:[ ]*+" + quoted + rb"[ ]*+|" + any_bare + rb")"
        self._good = re.compile(self._good_fields + _ANY_END)
        self._any_width = re.compile(any_field + rb"(?:" + mark + any_field + rb")*+" + _ANY_END)
        self._field = re.compile(any_field)

    def _fields(self, field: bytes, empty: bytes) -> bytes:
        """Return a pattern for the fields of a record, of which the last may have to be empty."""
        form = self.form
        low, high = (cells - 1 - form.last_empty for cells in (form.fewest, form.width))
        fields = field + rb"(?:" + self._mark + field + rb"){%d,%d}+" % (low, high)
        return fields + self._mark + empty if form.last_empty else fields

    @cached_property
    def _run(self) -> re.Pattern[bytes]:
        newline = self.form.newline
        end = rb"\r(?!\n)" if newline == b"\r" else re.escape(newline)
        return re.compile(rb"(?:" + self._plain_fields + end + rb")*+")

    @cached_property
    def _blank(self) -> re.Pattern[bytes]:
        white_space = blank_bytes(self._mark)
        cell = white_space + rb'(?:"' + white_space + rb'")?+' + white_space
        return re.compile(cell + rb"(?:" + self._mark + cell + rb")*+(?:\r\n|\r|\n|\Z)")

    @cached_property
    def _skips(self) -> list[tuple[int, re.Pattern[bytes]]]:
        return _repeated(rb"[\r\n]*+" + self._good_fields + rb"(?:\r\n?+|\n)")

    @cached_property
    def _skips_of_filled(self) -> list[tuple[int, re.Pattern[bytes]]]:
        filled = rb"(?!" + self._blank.pattern + rb"|" + self._stop_before + rb")"
        return _repeated(rb"[\r\n]*+" + filled + self._good_fields + rb"(?:\r\n?+|\n)")

    def fields(self, record: bytes) -> list[str]:
        """Return the values of one record, unquoted and without the spaces around them."""
        return [value.strip() for value in self.values(record)]

    def values(self, record: bytes) -> list[str]:
        """Return the values of one record, unquoted; invalid UTF-8 is replaced."""
        values = []
        for value in self._written_values(record):
            if value.startswith(b'"'):
                value = value[1:-1]  # noqa: PLW2901
                if self.form.backslash:
                    value = _BACKSLASHED.sub(rb"\1", value)  # noqa: PLW2901
                else:
                    value = value.replace(b'""', b'"')  # noqa: PLW2901
            values.append(value.decode("utf-8", "replace"))
        return values

    def plain(self, record: bytes) -> bytes:
        """Return a good record in plain form, without its line end."""
        width = self.form.width - self.form.last_empty
        plain = self.form.delimiter.join(islice(self._written_values(record), width))
        return plain + self.form.delimiter if self.form.last_empty else plain

    def _written_values(self, record: bytes) -> Iterator[bytes]:
        """Yield the values of a record as written, without the spaces around quoted ones."""
        position = 0
        while True:
            match = self._field.match(record, position)
            value = match[0] if match else b""
            bare = value.strip(b" ")
            yield bare if bare.startswith(b'"') else value
            position = match.end() if match else position
            if record[position : position + 1] != self.form.delimiter:
                return
            position += 1

    def plain_run_end(self, buffer: Buffer, position: int, before: int) -> int:
        """Return the end of a run of plain records from `position`, at or before `before`.

        The whole run is at most as long as the longest record, and so is each record in it.
        """
        match = self._run.match(buffer, position, min(before, position + self.form.max_bytes))
        return match.end() if match else position

    def first_record_at(self, buffer: Buffer, position: int) -> int:
        """Return the start of the first record at or after a record boundary, past empty lines."""
        match = _EMPTY_LINES.match(buffer, position)
        return match.end() if match else position

    def skip(self, buffer: Buffer, position: int, records: int) -> int | None:
        """Return the boundary after a number of good records; None if fewer follow in a row."""
        for step, pattern in self._skips:
            while records >= step:
                match = pattern.match(buffer, position)
                if match is None:
                    break
                position = match.end()
                records -= step
        return position if records == 0 else None

    def skip_filled(self, buffer: Buffer, position: int) -> tuple[int, int]:
        """Return the number of good records that follow, and the boundary after them.

        Blank records, records to stop before, and a last record without a line end do not count.
        """
        return _skip_all(self._skips_of_filled, buffer, position)

    def count(self, buffer: Buffer, position: int) -> int | None:
        """Return the number of records after a record boundary; None if one of them is bad."""
        counted, position = _skip_all(self._skips, buffer, position)
        position = self.first_record_at(buffer, position)
        if position == len(buffer):
            return counted
        last = self.good_record(buffer, position)
        return counted + 1 if last and last[1] == len(buffer) else None

    def is_blank(self, buffer: Buffer, start: int, end: int) -> bool:
        """Return whether a record, with its line end, is only delimiters and white space."""
        return self._blank.fullmatch(buffer, start, end) is not None

    def empty_lines(self, buffer: Buffer, position: int) -> tuple[int, int]:
        """Return the number of empty lines among good records after a boundary, and their bytes."""
        lines = size = 0
        while position < len(buffer):
            end = self.plain_run_end(buffer, position, len(buffer))
            if end == position and (record := self.good_record(buffer, position)):
                end = record[1]
            position = self.first_record_at(buffer, end)
            lines += len(LINE_END.findall(buffer, end, position))
            size += position - end
            if position == end and self.good_record(buffer, position) is None:
                break
        return lines, size

    def good_record(self, buffer: Buffer, start: int) -> tuple[int, int] | None:
        """Return the ends of a good record's text and of its line end; None for a bad record."""
        match = self._good.match(buffer, start, start + self.form.max_bytes + 1)
        if match is None or match.end() - start > self.form.max_bytes:
            return None
        return match.start(1), match.end()

    def record_of_any_width(self, buffer: Buffer, start: int) -> tuple[int, int] | None:
        """Return the ends of a record's text and of its line end, whatever its number of cells.

        A quote inside an unquoted value counts as an ordinary character. If the quotes of the
        record are not in order even so, return None.
        """
        match = self._any_width.match(buffer, start)
        return None if match is None else (match.start(1), match.end())

    def last_record(self, buffer: Buffer, start: int, end: int) -> int:
        """Return the start of the last good record in [start, end), which has at least one."""
        counted, _ = _skip_all(self._skips, buffer, start, end)
        boundary = self.skip(buffer, start, counted - 1)
        return start if boundary is None else self.first_record_at(buffer, boundary)


def line_end(buffer: Buffer, position: int) -> int:
    """Return the end of the line around a position, line break included."""
    match = _LINE_END.match(buffer, position)
    return match.end() if match else len(buffer)


def _repeated(record: bytes) -> list[tuple[int, re.Pattern[bytes]]]:
    """Return patterns for 65,536 records at once, then for fewer, down to one."""
    return [(step, re.compile(rb"(?:" + record + rb"){%d}" % step)) for step in _SKIP_STEPS]


def _skip_all(
    skips: list[tuple[int, re.Pattern[bytes]]],
    buffer: Buffer,
    position: int,
    end: int | None = None,
) -> tuple[int, int]:
    """Return the number of records that the patterns match in a row, and where they end."""
    counted, end = 0, len(buffer) if end is None else end
    size, shrinking = len(skips) - 1, False  # Small steps first: most runs are short.
    while size < len(skips):
        step, pattern = skips[size]
        if match := pattern.match(buffer, position, end):
            position = match.end()
            counted += step
            size = size if shrinking else max(size - 1, 0)
        else:
            size, shrinking = size + 1, True
    return counted, position
