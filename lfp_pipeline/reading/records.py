"""Where records begin and end: the grammar of CSV as patterns over bytes.

DuckDB reads the files. This grammar is for what DuckDB does not report: where a record lies in the
file, where a malformed one ends, and which of the following bytes are good again. The patterns run
in C over many records at once; Python sees only the bad ones.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from mmap import mmap

from lfp_pipeline.reading.white_space import blank_bytes

_LINE_END = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
LINE_END = re.compile(rb"\r\n|\r|\n")

_ANY_END = rb"(\r\n|\r|\n|\Z)"
EMPTY_CELL = rb'[ ]*+(?:""[ ]*+)?+'
_EMPTY_LINES = re.compile(rb"[\r\n]*+")
_BACKSLASHED = re.compile(rb'\\(["\\])')
_SKIP_STEPS = tuple(2**power for power in range(16, -1, -2))

Buffer = bytes | mmap


@dataclass(frozen=True)
class RecordForm:
    """How a file writes its records.

    Attributes:
        delimiter: one byte.
        newline: the main line end. A record may have any other.
        width: cells of a record.
        fewest: cells of a record whose writer leaves out empty ones at its end.
        last_empty: whether the last cell must be empty, because it has no column: every record ends
            in a delimiter.
        backslash: whether a quote inside a quoted value is escaped by a backslash, not by a quote.
        bare_quotes: whether a quote inside a value without quotes around it is a character like any
            other, and no slip.
        max_bytes: the size of the longest record.
        any_full: whether any record has all cells, as far as was looked.
        any_quoted: whether any value is quoted, as far as was looked.
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
    spaces is plain: DuckDB reads the others now so, now otherwise. A run of plain records has the
    main line end only; elsewhere a record may have any.
    """

    def __init__(self, form: RecordForm, *, stop_before: bytes = rb"(?!)") -> None:
        """For records of a form.

        Args:
            form: how they are written.
            stop_before: a pattern for the begin of records at which `skip_filled` stops.
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
        """A pattern for the fields of a record, of which the last may have to be an empty one."""
        form = self.form
        fewest, most = (cells - 1 - form.last_empty for cells in (form.fewest, form.width))
        fields = field + rb"(?:" + self._mark + field + rb"){%d,%d}+" % (fewest, most)
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
        """The values of one record, unquoted and without the spaces around them."""
        return [value.strip() for value in self.values(record)]

    def values(self, record: bytes) -> list[str]:
        """The values of one record, unquoted; what is not UTF-8 is replaced."""
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
        """A good record without its line end, made plain."""
        width = self.form.width - self.form.last_empty
        plain = self.form.delimiter.join(islice(self._written_values(record), width))
        return plain + self.form.delimiter if self.form.last_empty else plain

    def _written_values(self, record: bytes) -> Iterator[bytes]:
        """The values of a record as they are written, without the spaces around quoted ones."""
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
        """The end of some plain records from `position` that end at or before `before`.

        They are not longer than one record may be, and so none of them is.
        """
        match = self._run.match(buffer, position, min(before, position + self.form.max_bytes))
        return match.end() if match else position

    def first_record_at(self, buffer: Buffer, position: int) -> int:
        """The start of the first record at or after a record boundary: past empty lines."""
        match = _EMPTY_LINES.match(buffer, position)
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

    def skip_filled(self, buffer: Buffer, position: int) -> tuple[int, int]:
        """How many good records follow, and the boundary after them.

        Blank ones are none of them, nor are those to stop before; nor is the last record of a file
        if it has no line end.
        """
        return _skip_all(self._skips_of_filled, buffer, position)

    def count(self, buffer: Buffer, position: int) -> int | None:
        """How many records follow a record boundary; None where one of them is bad."""
        counted, position = _skip_all(self._skips, buffer, position)
        position = self.first_record_at(buffer, position)
        if position == len(buffer):
            return counted
        last = self.good_record(buffer, position)
        return counted + 1 if last and last[1] == len(buffer) else None

    def is_blank(self, buffer: Buffer, start: int, end: int) -> bool:
        """Whether a record, with its line end, has nothing but delimiters and white space."""
        return self._blank.fullmatch(buffer, start, end) is not None

    def empty_lines(self, buffer: Buffer, position: int) -> tuple[int, int]:
        """How many lines are empty among good records from a boundary on, and their bytes."""
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
        """The end of a good record's text and of its line end, whatever that is; None if bad."""
        match = self._good.match(buffer, start, start + self.form.max_bytes + 1)
        if match is None or match.end() - start > self.form.max_bytes:
            return None
        return match.start(1), match.end()

    def record_of_any_width(self, buffer: Buffer, start: int) -> tuple[int, int] | None:
        """The end of the text and of the line end of a record, however many cells it has.

        A quote inside a value without quotes is a character like any other. None where the quotes
        of the record are not in order even so.
        """
        match = self._any_width.match(buffer, start)
        return None if match is None else (match.start(1), match.end())

    def last_record(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the last of the good records in [start, end) begins; there is one at least."""
        counted, _ = _skip_all(self._skips, buffer, start, end)
        boundary = self.skip(buffer, start, counted - 1)
        return start if boundary is None else self.first_record_at(buffer, boundary)


def line_end(buffer: Buffer, position: int) -> int:
    """The end of the line that a position is on, with its line break."""
    match = _LINE_END.match(buffer, position)
    return match.end() if match else len(buffer)


def _repeated(record: bytes) -> list[tuple[int, re.Pattern[bytes]]]:
    """Patterns for so many records at once, the most first."""
    return [(step, re.compile(rb"(?:" + record + rb"){%d}" % step)) for step in _SKIP_STEPS]


def _skip_all(
    skips: list[tuple[int, re.Pattern[bytes]]],
    buffer: Buffer,
    position: int,
    end: int | None = None,
) -> tuple[int, int]:
    """How many records that the patterns match follow until an end, and where they end."""
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
