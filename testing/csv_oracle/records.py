"""Records of a file: which are accepted, rejected or skipped, and their writer's habits."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace

from testing.csv_oracle.cells import BLANKS, QUOTE, Cells, Habits, Record

COLUMNS = ("sku", "name", "description")


@dataclass
class Tally:
    """How many records of each kind a file has.

    Attributes:
        widths: records by their number of cells.
        delimiter_at_end: records with one more cell than the header, which is empty.
        stray: records with a stray quote and a right number of cells.
        broken: records with another quote error.
        errors: records with any quote error.
        quoted: whether any value is quoted.
        short_run: records that leave out cells, one after the other, up to the present one.
        longest_short_run: the longest of these runs.
    """

    widths: Counter[int] = field(default_factory=Counter)
    delimiter_at_end: int = 0
    stray: int = 0
    broken: int = 0
    errors: int = 0
    quoted: bool = False
    short_run: int = 0
    longest_short_run: int = 0

    @property
    def records(self) -> int:
        return self.widths.total() + self.broken


class Oracle(Cells):
    """The records of a file from `start` on."""

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
        """Find out the habits of the file's writer.

        `header` has an empty name for a column without one. `limit` is that of the bytes of a
        record. With `require_all`, no cell may be left out.
        """
        self.start = start
        self.header = header
        self.needed = 1 + max(header.index("sku"), header.index("name"))
        super().__init__(data, delimiter, limit, Habits(len(header), self.needed))
        self.habits = self.find_habits(require_all=require_all)

    def find_habits(self, *, require_all: bool) -> Habits:
        tally, backslash = self.tally(), False
        if tally.errors and b'\\"' in self.data[self.start :]:
            self.habits = replace(self.habits, backslash=True)
            other = self.tally()
            if tally.errors >= min(3, tally.records) and other.errors * 10 <= tally.errors:
                tally, backslash = other, True

        def is_habit(count: int) -> bool:
            return count >= 3 and count * 10 >= tally.records

        bare_quotes = (not tally.quoted or is_habit(tally.stray)) and not backslash
        width = min_width = len(self.header)
        if tally.delimiter_at_end and tally.delimiter_at_end * 10 >= tally.records * 9:
            return Habits(width + 1, width + 1, True, backslash, bare_quotes)
        named = max(place for place, name in enumerate(self.header, 1) if name)
        limit = max(tally.widths[cells] for cells in range(named, width + 1))
        common = max(c for c in range(named, width + 1) if tally.widths[c] == limit)
        width = max(c for c in range(named, width + 1) if c == common or is_habit(tally.widths[c]))
        min_width = self.needed
        short = sum(tally.widths[cells] for cells in range(min_width, common))
        many = is_habit(short) or (short and tally.longest_short_run >= 15)
        longest = max((c for c in range(min_width, width + 1) if tally.widths[c]), default=0)
        wanted = max(self.header.index(name) for name in COLUMNS)
        split = not all(self.header[:named]) or (named > 3 and longest <= wanted)
        shifted = longest == width - 1 and split
        if not many or shifted or require_all:
            min_width = common
        return Habits(width, min_width, False, backslash, bare_quotes)

    def tally(self) -> Tally:
        tally, full = Tally(), len(self.header)
        named = max(place for place, name in enumerate(self.header, 1) if name)
        position = self.past_empty_lines(self.start)
        while position < len(self.data):
            record = self.parse(position)
            with suppress(AnotherHeaderError):  # The habits count such a row like any other.
                if self.repeats_header(position):
                    position = self.past_empty_lines(record.end)
                    continue
            tally.errors += bool(record.quote_error)
            if record.quote_error not in ("", "stray quote"):
                tally.broken += 1
            elif not self.is_blank(record):
                cells = len(record.values)
                tally.widths[cells] += 1
                tally.stray += bool(record.quote_error) and self.needed <= cells <= full + 1
                tally.delimiter_at_end += cells == full + 1 and not record.has_surplus
                tally.short_run = tally.short_run + 1 if self.needed <= cells < named else 0
                tally.longest_short_run = max(tally.longest_short_run, tally.short_run)
                if not record.quote_error:
                    quotes = self.data.count(b'"', record.start, record.end)
                    tally.quoted |= quotes > 2 * sum(map(self.is_formula, record.values))
            position = self.past_empty_lines(record.end)
        return tally

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

    def record(self, start: int) -> Record:
        """Return the record that begins at `start`, with its reason or why it is skipped."""
        record = self.parse(start)
        reason = record.quote_error or self.wrong_width(record)
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
        if cells < habits.min_width:
            return "missing columns"
        if cells > habits.width or (habits.last_empty and record.has_surplus):
            return "too many columns"
        return ""

    def is_blank(self, record: Record) -> bool:
        """Whether each cell is blank, or is a pair of quotes with blanks within and around it."""
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
            AnotherHeaderError: the record names other columns, or at other places.
        """
        end = self.parse(start).end
        text = self.data[start:end].rstrip(b"\r\n")
        while text.startswith(b"\xef\xbb\xbf"):
            text = text[3:]
        alone = copy(self)
        alone.data = text
        record = alone.parse(0)
        names = [bare_name(value.decode("utf-8", "replace")) for value in record.values]
        places = map(self.header.index, COLUMNS)
        found = [names[at] if at < len(names) else "" for at in places]
        return not record.quote_error and is_header(found)

    def broken_text_end(self, position: int) -> int | None:
        """Return the end of a quoted value that has lost its opening quote; None: there is none.

        Its lines have fewer delimiters than a record, and one quote, which stands at their end and
        can begin no value.
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
            if delimiters >= self.habits.min_width - 1:
                return None
            if QUOTE in line:
                begins = (*b" =\r\n", self.delimiter)
                ends = line.index(QUOTE) == len(line) - 1 > 0 and line[-2] not in begins
                return end if ends else None
            position = end
        return None


class AnotherHeaderError(Exception):
    """A row names other columns than the header does, or in another order."""


def is_header(names: Sequence[str]) -> bool:
    """Whether the sku, name and description of a row are the names of these columns.

    Raises:
        AnotherHeaderError: two of the values are the names of other columns.
    """
    wanted = list(COLUMNS)
    if names == wanted:
        return True
    if len({*names[:2]} & {*wanted}) == 2:
        raise AnotherHeaderError
    return False


def bare_name(text: str) -> str:
    """Return a name as headers are compared: in small letters, without blanks and quotes."""
    return "".join(mark for mark in text if mark not in BLANKS | {"\r", "\n", '"'}).lower()
