"""What is wrong with a record that cannot be read, and where the next one begins."""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import NamedTuple

from lfp_pipeline.reading.records import EMPTY_CELL, Buffer, RecordForm, RecordGrammar, line_end

OTHER_WIDTH = ("missing columns", "too many columns")
"""Why a record is bad that has another number of cells."""

_EMPTY_CELL = re.compile(EMPTY_CELL)
_ENDS_LINE = re.compile(rb"[ ]*+(?:\r|\n|\Z)")
_OPENING = re.compile(rb'[ ]*+"')
_COLUMNS_COUNTED = 100_000  # More are noise, and take long.
_QUOTES_LOOKED_AT = 100
_LINES_LOOKED_AT = 20
_QUOTE, _SPACE = b'" '


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


class DiagnosingGrammar(RecordGrammar):
    """A grammar that also says what is wrong with records."""

    def __init__(self, form: RecordForm) -> None:
        super().__init__(form)
        self._closing = re.compile(self._to_closing)
        self._after_value = re.compile(rb"[ ]*+(?:" + self._mark + rb"|\r|\n|\Z)")
        self._bare = re.compile(rb"[^\r\n" + self._mark + rb"]*+")
        self._formula_cell = re.compile(self._formula + rb"(?=" + self._mark + rb"|\r|\n|\Z)")
        self._begins_value = {form.delimiter, b"\n", b"\r"}

    def values_of_header(self, record: bytes) -> list[str]:
        """The values of one record that may begin with marks; none where its quotes are a slip.

        After a byte order mark, a quote would be inside a value.
        """
        record = record.rstrip(b"\r\n")
        while record.startswith(BOM_UTF8):
            record = record.removeprefix(BOM_UTF8)
        return [] if self.look(record, 0).reason else self.values(record)

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
