"""Where records begin and end: the grammar of CSV as patterns over bytes.

DuckDB reads the files. This grammar is for what DuckDB does not report: where a record lies in the
file, where a malformed one ends, and which of the following bytes are good again. The patterns run
in C over many records at once; Python sees only the bad ones.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from mmap import mmap
from typing import NamedTuple

from lfp_pipeline.reading.white_space import blank_bytes

OTHER_WIDTH = ("missing columns", "too many columns")
"""Why a record is bad that has another number of cells."""

_LINE_END = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
LINE_END = re.compile(rb"\r\n|\r|\n")

_ANY_END = rb"(\r\n|\r|\n|\Z)"
_EMPTY_LINES = re.compile(rb"[\r\n]*+")
_ENDS_LINE = re.compile(rb"[ ]*+(?:\r|\n|\Z)")
_OPENING = re.compile(rb'[ ]*+"')
_COLUMNS_COUNTED = 100_000  # More are noise, and take long.
_QUOTES_LOOKED_AT = 100
_LINES_LOOKED_AT = 20
_QUOTE, _SPACE = b'" '
_BACKSLASHED = re.compile(rb'\\(["\\])')
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


class Look(NamedTuple):
    """What was found by looking at one record cell by cell.

    Attributes:
        cells: how many it has.
        end: of its text.
        surplus: whether its last cell is not empty.
        reason: what is wrong with its quotes, if anything is; with the text and the number of the
            detail.
    """

    cells: int
    end: int
    surplus: bool
    reason: str
    detail_text: str
    detail_number: int


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
        quoted = rb'"' + in_quotes + rb'"'
        no_formula = form.delimiter == b"=" or form.backslash
        formula = rb"(?!)" if no_formula else rb'="[^"\r\n' + mark + rb']*+"'
        any_bare = rb'[ ]*+[^" \r\n' + mark + rb"][^\r\n" + mark + rb"]*+|[ ]*+"
        bare = any_bare
        if not form.bare_quotes:
            bare = formula + rb'|[ ]*+[^" \r\n' + mark + rb'][^"\r\n' + mark + rb"]*+|[ ]*+"
        self._plain_fields = self._fields(rb"(?:" + quoted + rb"|" + bare + rb")", rb'(?:"")?+')
        empty = rb'[ ]*+(?:""[ ]*+)?+'
        self._good_fields = self._fields(rb"(?:[ ]*+" + quoted + rb"[ ]*+|" + bare + rb")", empty)
        any_field = rb"(?:[ ]*+" + quoted + rb"[ ]*+|" + any_bare + rb")"
        self._good = re.compile(self._good_fields + _ANY_END)
        self._any_width = re.compile(any_field + rb"(?:" + mark + any_field + rb")*+" + _ANY_END)
        self._field = re.compile(any_field)
        self._empty_cell = re.compile(empty)
        self._closing = re.compile(in_quotes + rb'"')
        self._after_value = re.compile(rb"[ ]*+(?:" + mark + rb"|\r|\n|\Z)")
        self._bare = re.compile(rb"[^\r\n" + mark + rb"]*+")
        self._formula = re.compile(formula + rb"(?=" + mark + rb"|\r|\n|\Z)")
        self._begins_value = {form.delimiter, b"\n", b"\r"}

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

    def values_of_header(self, record: bytes) -> list[str]:
        """The values of one record that may begin with marks; none where its quotes are a slip.

        After a byte order mark, a quote would be inside a value.
        """
        record = record.rstrip(b"\r\n")
        while record.startswith(BOM_UTF8):
            record = record.removeprefix(BOM_UTF8)
        return [] if self.look(record, 0).reason else self.values(record)

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

    def bad_record(self, buffer: Buffer, start: int) -> BadRecord:
        """What is wrong with the record at `start`, and where the next one begins."""
        look = self.look(buffer, start)
        end = line_end(buffer, look.end)
        if look.reason:
            return BadRecord(start, end, look.reason, look.detail_text, look.detail_number)
        width = self.form.width
        if self.form.fewest <= look.cells <= width:
            if look.cells == width and self.form.last_empty and look.surplus:
                width -= 1
            else:
                most = self.form.max_bytes
                return BadRecord(start, end, "record too long", "longer than {:,} bytes", most)
        side = OTHER_WIDTH[look.cells >= self.form.fewest]
        return BadRecord(start, end, side, f"{{}} columns instead of {width}", look.cells)

    def look(self, buffer: Buffer, start: int) -> Look:
        """Look at each cell of a record.

        A quoted value goes on to its closing quote, over any line end; the record ends with the
        first line end after its last value. A quote that is not closed, or is a slip, is taken for
        a character, and so is what follows a closing quote within its cell.
        """
        position, cells = start, 0
        slip: tuple[str, str, int] | None = None
        while True:
            cells += 1
            cell = position
            opening = _OPENING.match(buffer, position)
            if opening is None:
                position = self._bare_end(buffer, position)
                quote = -1 if self.form.bare_quotes else buffer.find(b'"', cell, position)
                if quote >= 0 and not self._formula.match(buffer, cell):
                    detail = "the quote at byte {} is inside a value without quotes around it"
                    slip = slip or ("stray quote", detail, quote)
            else:
                value = opening.end()
                closing = self._closing.match(buffer, value)
                if closing is None or self._is_stray(buffer, start, value, closing.end() - 1):
                    detail = "the quote at byte {} is never closed"
                    slip = slip or ("unclosed quote", detail, value - 1)
                    position = self._bare_end(buffer, value)
                else:
                    end = closing.end()
                    if not self._ends_value(buffer, end):
                        detail = "text after the closing quote at byte {}"
                        slip = slip or ("text after a closing quote", detail, end - 1)
                        end = self._later_closing(buffer, end)
                    position = self._bare_end(buffer, end)
            is_last = buffer[position : position + 1] != self.form.delimiter
            if is_last or cells >= _COLUMNS_COUNTED:
                surplus = self._empty_cell.fullmatch(buffer, cell, position) is None
                return Look(cells, position, surplus, *(slip or ("", "", 0)))
            position += 1

    def _later_closing(self, buffer: Buffer, position: int) -> int:
        """The end of the quote that closes a value after all, though another did at `position`.

        It ends a value, can begin none, and stands in one of the next lines, before any quote that
        may begin a value. Without such a quote, `position`.
        """
        quote = position - 1
        for _ in range(_QUOTES_LOOKED_AT):
            quote = buffer.find(b'"', quote + 1)
            before = quote
            while before > position and buffer[before - 1] == _SPACE:
                before -= 1
            if self.form.bare_quotes or quote < 0 or self._may_open(buffer, before):
                break
            if self._ends_value(buffer, quote + 1):
                return position if _is_far(buffer, position, quote) else quote + 1
        return position

    def _may_open(self, buffer: Buffer, quote: int) -> bool:
        return buffer[quote - 1 : quote] in self._begins_value

    def _bare_end(self, buffer: Buffer, position: int) -> int:
        match = self._bare.match(buffer, position)
        return match.end() if match else position

    def _ends_value(self, buffer: Buffer, position: int) -> bool:
        return self._after_value.match(buffer, position) is not None

    def _is_stray(self, buffer: Buffer, start: int, value: int, closing: int) -> bool:
        """Whether a quote before `value` opens nothing, though another, `closing`, follows.

        Where a delimiter or a line end follows the closing quote, the quotes balance, and what is
        between them is text, whatever it looks like; unless the second quote may open a value, and
        the record would end with it, one line with too few cells, which has enough without the
        quotes. Elsewhere, the first quote is a stray one if the second may open a value, or if
        they are far apart, on two lines that are records when a quote is a character like any
        other: so many rows are no text with a slip in it.
        """
        opening = closing  # Of a value that may begin with quotes of its own: ,"""big"" lamp"
        while opening > max(value, closing - _QUOTES_LOOKED_AT) and buffer[opening - 1] == _QUOTE:
            opening -= 1
        may_open = self._may_open(buffer, opening)
        if self._ends_value(buffer, closing + 1):
            return may_open and self._is_record_without_quotes(buffer, start, closing)
        whole = (self._is_whole_line(buffer, place) for place in (value - 1, closing))
        return may_open or (_is_far(buffer, value, closing) and all(whole))

    def _is_record_without_quotes(self, buffer: Buffer, start: int, closing: int) -> bool:
        """Whether a record that ends with a closing quote is a line, and whole without quotes."""
        if self.form.fewest < self.form.width or not _ENDS_LINE.match(buffer, closing + 1):
            return False
        end = line_end(buffer, start)
        return closing < end and self._is_whole_line(buffer, start)

    def broken_text_end(self, buffer: Buffer, start: int) -> int | None:
        """The end of the lines from `start` on that end a value whose opening quote is lost.

        All of them have fewer delimiters than one record. Their only quote ends the last of them,
        and can only close a value.
        """
        delimiters = 0
        for _ in range(_LINES_LOOKED_AT):
            end = line_end(buffer, start)
            if start >= len(buffer) or end - start > self.form.max_bytes:
                return None
            line = buffer[start:end].rstrip(b"\r\n ")
            delimiters += line.count(self.form.delimiter)
            if delimiters >= self.form.fewest - 1:
                return None
            quote = line.find(b'"')
            if quote >= 0:
                before = line[quote - 1 : quote] if quote else b"\n"
                closes = quote == len(line) - 1 and before not in {*self._begins_value, b" ", b"="}
                return end if closes else None
            start = end
        return None

    def last_record(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the last of the good records in [start, end) begins; there is one at least."""
        counted, _ = _skip_all(self._skips, buffer, start, end)
        boundary = self.skip(buffer, start, counted - 1)
        return start if boundary is None else self.first_record_at(buffer, boundary)

    def _is_whole_line(self, buffer: Buffer, position: int) -> bool:
        """Whether the line around a position has as many cells as a record, quotes aside."""
        far = max(0, position - self.form.max_bytes)
        start = max(buffer.rfind(b"\n", far, position), buffer.rfind(b"\r", far, position)) + 1
        end = line_end(buffer, position)
        if (start == 0 < far) or end - start > self.form.max_bytes:
            return False
        cells = 1 + bytes(buffer[start:end]).count(self.form.delimiter)
        return self.form.fewest <= cells <= self.form.width


def _is_far(buffer: Buffer, start: int, end: int) -> bool:
    """Whether more lines end between two positions than one text is taken to have."""
    for _ in range(_LINES_LOOKED_AT):
        start = line_end(buffer, start)
        if start > end:
            return False
    return True


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
