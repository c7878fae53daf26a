"""Diagnosis of bad records: the reason why a record cannot be read, and where the next begins."""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import NamedTuple

from lfp_pipeline.reading.records import EMPTY_CELL, Buffer, RecordForm, RecordGrammar, line_end

Slip = tuple[str, str, int]
"""A slip of quotes: the reason for a reject, and the text and the number of its detail."""

_EMPTY_CELL = re.compile(EMPTY_CELL)
_ENDS_LINE = re.compile(rb"[ ]*+(?:\r|\n|\Z)")
_OPENING = re.compile(rb'[ ]*+"')
_COLUMNS_COUNTED = 100_000  # Counting more takes long and changes nothing.
_QUOTES_LOOKED_AT = 100
_LINES_LOOKED_AT = 20
_QUOTE, _SPACE = b'" '


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read: the bytes [start, end), and the reason.

    Many records share the text of the detail; only its number is their own. That saves memory.
    """

    start: int
    end: int
    reason: str
    detail_text: str
    detail_number: int

    @property
    def detail(self) -> str:
        """The reason in more detail."""
        return self.detail_text.format(self.detail_number)


class Look(NamedTuple):
    """One record, looked at cell by cell.

    Attributes:
        cells: number of its cells.
        end: offset of the end of its text.
        surplus: whether its last cell has a value.
        slip: its first slip of quotes; None: there is none.
    """

    cells: int
    end: int
    surplus: bool
    slip: Slip | None


class DiagnosingGrammar(RecordGrammar):
    """A record grammar that also diagnoses bad records."""

    def __init__(self, form: RecordForm) -> None:
        super().__init__(form)
        self._closing = re.compile(self._to_closing)
        self._after_value = re.compile(rb"[ ]*+(?:" + self._mark + rb"|\r|\n|\Z)")
        self._bare = re.compile(rb"[^\r\n" + self._mark + rb"]*+")
        self._formula_cell = re.compile(self._formula + rb"(?=" + self._mark + rb"|\r|\n|\Z)")
        self._begins_value = {form.delimiter, b"\n", b"\r"}

    def values_of_header(self, record: bytes) -> list[str]:
        """Return the values of a record that may begin with byte order marks.

        A quote after a mark would count as inside a value, so the marks are removed first. A record
        with a slip of quotes has no values.
        """
        record = record.rstrip(b"\r\n")
        while record.startswith(BOM_UTF8):
            record = record.removeprefix(BOM_UTF8)
        return [] if self.look(record, 0).slip else self.values(record)

    def bad_record(self, buffer: Buffer, start: int) -> BadRecord:
        """Return the bad record at `start`, with its end and the reason."""
        look = self.look(buffer, start)
        end = line_end(buffer, look.end)
        if look.slip:
            return BadRecord(start, end, *look.slip)
        width = self.form.width
        if self.form.fewest <= look.cells <= width:
            if look.cells < width or not (self.form.last_empty and look.surplus):
                detail, limit = "longer than {:,} bytes", self.form.max_bytes
                return BadRecord(start, end, "record too long", detail, limit)
            width -= 1
        reason = "missing columns" if look.cells < self.form.fewest else "too many columns"
        return BadRecord(start, end, reason, f"{{}} columns instead of {width}", look.cells)

    def look(self, buffer: Buffer, start: int) -> Look:
        """Return what each cell of a record shows.

        A quoted value extends to its closing quote, across line ends. The record ends at the first
        line end after its last value. A quote that is never closed, or is a slip, counts as a
        character; so does any text after a closing quote within its cell.
        """
        position, cells = start, 0
        slip: Slip | None = None
        while True:
            cells += 1
            cell = position
            opening = _OPENING.match(buffer, position)
            if opening is None:
                position = self._bare_end(buffer, position)
                quote = -1 if self.form.bare_quotes else buffer.find(b'"', cell, position)
                if quote >= 0 and not self._formula_cell.match(buffer, cell):
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
                surplus = _EMPTY_CELL.fullmatch(buffer, cell, position) is None
                return Look(cells, position, surplus, slip)
            position += 1

    def _later_closing(self, buffer: Buffer, position: int) -> int:
        """Return the end of a later quote that closes the value which seemed to end at `position`.

        Such a quote ends a value, cannot begin one, and stands within the next lines, before any
        quote that may begin a value. Without such a quote, return `position`.
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
        """Return whether the quote before `value` opens nothing, though `closing` follows it.

        If a delimiter or a line end follows the closing quote, the two quotes are a pair, and the
        text between them is a value. Exception: the second quote may open a value, and the record
        would end with it on one line with too few cells, but has enough cells without the quotes.

        Otherwise the first quote is stray in two cases: the second quote may open a value; or the
        quotes are far apart, on two lines that are whole records if a quote is a character. So
        many rows are not one text with a slip in it.
        """
        opening = closing  # A value may begin with escaped quotes: ,"""big"" lamp"
        while opening > max(value, closing - _QUOTES_LOOKED_AT) and buffer[opening - 1] == _QUOTE:
            opening -= 1
        may_open = self._may_open(buffer, opening)
        if self._ends_value(buffer, closing + 1):
            return may_open and self._is_record_without_quotes(buffer, start, closing)
        whole = (self._is_whole_line(buffer, quote) for quote in (value - 1, closing))
        return may_open or (_is_far(buffer, value, closing) and all(whole))

    def _is_record_without_quotes(self, buffer: Buffer, start: int, closing: int) -> bool:
        """Return whether a record up to a closing quote is one line, and whole without quotes."""
        if self.form.fewest < self.form.width or not _ENDS_LINE.match(buffer, closing + 1):
            return False
        end = line_end(buffer, start)
        return closing < end and self._is_whole_line(buffer, start)

    def broken_text_end(self, buffer: Buffer, start: int) -> int | None:
        """Return the end of a value whose opening quote is lost, if the lines at `start` end one.

        All these lines together have fewer delimiters than one record. Their only quote ends the
        last of them, and can only close a value.
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

    def _is_whole_line(self, buffer: Buffer, position: int) -> bool:
        """Return whether the line around a position has as many cells as a record, quotes aside."""
        far = max(0, position - self.form.max_bytes)
        start = max(buffer.rfind(b"\n", far, position), buffer.rfind(b"\r", far, position)) + 1
        end = line_end(buffer, position)
        if (start == 0 < far) or end - start > self.form.max_bytes:
            return False
        cells = 1 + bytes(buffer[start:end]).count(self.form.delimiter)
        return self.form.fewest <= cells <= self.form.width


def _is_far(buffer: Buffer, start: int, end: int) -> bool:
    """Return whether more lines end between two positions than one text may have."""
    for _ in range(_LINES_LOOKED_AT):
        start = line_end(buffer, start)
        if start > end:
            return False
    return True
