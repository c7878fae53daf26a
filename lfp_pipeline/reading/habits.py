"""Habits of the writer of a file, found by counting its records of each kind.

A systematic oddity is a habit of the writer, and is read as it is meant: a delimiter at the end of
every record, empty cells left out at the ends of many, quotes escaped by backslashes, quotes inside
unquoted values. An isolated oddity is damage, and makes a reject.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from os import SEEK_END
from pathlib import Path

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.reading.bad_records import DiagnosingGrammar, Look
from lfp_pipeline.reading.columns import ColumnMap
from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.records import Buffer, RecordForm, RecordGrammar, line_end

_MIN_RECORDS_OF_HABIT = 3
_HABIT_OF = 10
"""A habit shows in at least one of so many records."""

_MIN_RUN_OF_SHORT = 15
"""Excel decides for 16 rows at a time which cells they have; the header is among the first 16."""

_DAMAGED_OF = 10
"""Of all records, at most one of so many may be damaged without hiding a habit."""

_MAX_TURNS = 200_000
"""After so many changes from one kind of record to another, counting ends: the habits show."""

_QUOTE_OF_A_VALUE = re.compile(rb'(?:[^"=]++|="[^"]*+"|=)*+"')
"""Matches up to the first quote that does not belong to a formula such as ="007"."""
_BACKSLASHED_QUOTE = b'\\"'


@dataclass
class _Tally:
    """Numbers of records of a file by kind, without blank records and repeated headers.

    Attributes:
        columns: of the file.
        widths: records without a slip, by their number of cells.
        ending_in_delimiter: those of them with one cell more than the header, which is empty.
        stray_quotes: records with enough cells, and at most one more than the header, that have a
            quote inside an unquoted value.
        broken: records with other slips of quotes.
        slips: records with any slip of quotes, whatever their number of cells.
        any_quoted: whether a value is quoted.
        longest_short_run: most records in a row that have a sku and a name, but no cell for the
            last named column.
    """

    columns: ColumnMap
    widths: Counter[int] = field(default_factory=Counter)
    ending_in_delimiter: int = 0
    stray_quotes: int = 0
    broken: int = 0
    slips: int = 0
    any_quoted: bool = False
    longest_short_run: int = 0
    _short_run: int = 0

    @property
    def records(self) -> int:
        """Number of all records."""
        return self.widths.total() + self.broken

    @property
    def full(self) -> int:
        """Number of cells of the header."""
        return len(self.columns.header)

    @property
    def needed(self) -> int:
        """Number of cells of a record up to its sku and its name."""
        return 1 + max(self.columns.positions[column] for column in ("sku", "name"))

    def has_width(self, cells: int) -> bool:
        """Return whether a record with so many cells counts as a row of the file."""
        return self.needed <= cells <= self.full + 1

    def count(self, cells: int, records: int, *, ends_in_delimiter: bool) -> None:
        """Count the next records, each with so many cells."""
        self.widths[cells] += records
        self.ending_in_delimiter += records * ends_in_delimiter
        is_short = self.needed <= cells < self.columns.named_width
        self._short_run = self._short_run + records if is_short else 0
        self.longest_short_run = max(self.longest_short_run, self._short_run)

    def is_habit(self, records: int) -> bool:
        """Return whether so many records show a habit."""
        return records >= _MIN_RECORDS_OF_HABIT and records * _HABIT_OF >= self.records


def form_by_habits(buffer: Buffer, dialect: Dialect, *, require_all_cells: bool) -> RecordForm:
    """Return the form of a file's records, as most of them have it.

    `buffer` may be the beginning of the file, up to the end of a record. The form in `dialect` is
    ignored. If all cells are required, short records are rejects even if they are many.
    """
    full = len(dialect.columns.header)
    form = RecordForm(
        dialect.form.delimiter, dialect.form.newline, full, full, max_bytes=dialect.form.max_bytes
    )
    if _is_plain_throughout(buffer, dialect, form):
        return form
    tally = _tally(buffer, dialect, form)
    if tally.slips and buffer.find(_BACKSLASHED_QUOTE, dialect.body_start) >= 0:
        escaped = replace(form, backslash=True)
        other = _tally(buffer, dialect, escaped)
        many = tally.slips >= min(_MIN_RECORDS_OF_HABIT, tally.records)
        if many and other.slips * _DAMAGED_OF <= tally.slips:
            form, tally = escaped, other
    few_quoted = not tally.any_quoted or tally.is_habit(tally.stray_quotes)
    return replace(
        _with_width(form, dialect, tally, require_all_cells),
        bare_quotes=few_quoted and not form.backslash,
        any_quoted=tally.any_quoted,
    )


def _is_plain_throughout(buffer: Buffer, dialect: Dialect, form: RecordForm) -> bool:
    """Return whether all records have the form of the header, as in most files."""
    grammar, size = RecordGrammar(form), len(buffer)
    position, end = -1, dialect.body_start
    while end > position:
        position, end = end, grammar.plain_run_end(buffer, end, size)
    last = grammar.good_record(buffer, end) if end < size else None
    return end == size or (last is not None and last[1] == size)


def _with_width(
    form: RecordForm, dialect: Dialect, tally: _Tally, require_all_cells: bool
) -> RecordForm:
    full = len(dialect.columns.header)
    others = tally.records - tally.ending_in_delimiter
    if tally.ending_in_delimiter and others * _DAMAGED_OF <= tally.records:
        return replace(form, width=full + 1, fewest=full + 1, last_empty=True)
    # The header may end in delimiters although some or all rows do not.
    widths = range(dialect.columns.named_width, full + 1)
    common = max(reversed(widths), key=lambda cells: tally.widths[cells])
    width = max(c for c in widths if c == common or tally.is_habit(tally.widths[c]))
    needed = tally.needed
    short = sum(tally.widths[cells] for cells in range(needed, common))
    # A surplus delimiter in the header would shift the values of all rows.
    longest = max((cells for cells in range(needed, width + 1) if tally.widths[cells]), default=0)
    is_shifted = longest == width - 1 and dialect.columns.may_be_split_after(longest)
    are_short = tally.is_habit(short) or tally.longest_short_run >= _MIN_RUN_OF_SHORT
    fewest = needed if short and are_short and not (is_shifted or require_all_cells) else common
    return replace(form, width=width, fewest=fewest, any_full=bool(tally.widths[width]))


def _tally(buffer: Buffer, dialect: Dialect, form: RecordForm) -> _Tally:
    """Count the records of each kind; a run of one kind is counted at once."""
    tally = _Tally(dialect.columns)
    like_header = dialect.columns.like_header(form.delimiter)
    # For this grammar, short records are a habit, so a short record ends at its own end.
    any_width = DiagnosingGrammar(replace(form, fewest=tally.needed))
    grammars: dict[int, RecordGrammar] = {}
    width, turns = tally.full, 0
    position, size = any_width.first_record_at(buffer, dialect.body_start), len(buffer)
    while position < size and turns < _MAX_TURNS:
        turns += 1
        if width not in grammars and tally.has_width(width):
            of_width = replace(form, width=width, fewest=width, last_empty=width > tally.full)
            grammars[width] = RecordGrammar(of_width, stop_before=like_header.pattern)
        if width in grammars:
            found, after = grammars[width].skip_filled(buffer, position)
            if found:
                tally.count(width, found, ends_in_delimiter=width > tally.full)
            quoted = tally.any_quoted or _QUOTE_OF_A_VALUE.match(buffer, position, after)
            tally.any_quoted = bool(quoted)
            position = any_width.first_record_at(buffer, after)
            if position >= size:
                break
        look = any_width.look(buffer, position)
        end = line_end(buffer, look.end)
        is_header = like_header.match(buffer, position) and dialect.columns.are_repeated_by(
            any_width.values_of_header(buffer[position:end])
        )
        if not (is_header or any_width.is_blank(buffer, position, end)):
            width = _count_record(tally, look, buffer[position:end])
        position = any_width.first_record_at(buffer, end)
    return tally


def _count_record(tally: _Tally, look: Look, record: bytes) -> int:
    """Count one record; return its number of cells."""
    tally.slips += look.slip is not None
    if look.slip and look.slip[0] != "stray quote":
        tally.broken += 1
        return look.cells
    ends_in_delimiter = look.cells == tally.full + 1 and not look.surplus
    tally.count(look.cells, 1, ends_in_delimiter=ends_in_delimiter)
    if look.slip:
        tally.stray_quotes += tally.has_width(look.cells)
    elif not tally.any_quoted:
        tally.any_quoted = _QUOTE_OF_A_VALUE.match(record) is not None
    return look.cells


NO_LAST_LINE_END = "The last row has no line end, though all others have: the file may be cut off."


def form_notes(path: Path, dialect: Dialect) -> list[str]:
    """Return sentences for people about the form of a file."""
    form, notes = dialect.form, []
    if not _ends_in_line_end(path, dialect):
        notes.append(NO_LAST_LINE_END)
    if dialect.title:
        lines = pluralize(dialect.lines_above, "line")
        notes.append(f"Skipped {lines} above the header; one of them is: {dialect.title}")
    if form.last_empty:
        notes.append(
            "Rows have one cell more than the header, and it is empty. If a delimiter is "
            "missing in the header, the values are in the wrong columns."
        )
    if form.fewest < form.width:
        note = "Many rows have fewer cells than the header: the missing ones are empty."
        if not form.any_full:
            note = (
                "All rows have fewer cells than the header: the missing ones are empty. If the "
                "header has a delimiter too many, the values are in the wrong columns."
            )
        notes.append(note)
    if form.bare_quotes and form.any_quoted:
        notes.append("Some values are quoted, and others hold quotes that are taken as they are.")
    if form.backslash:
        notes.append("Quotes in values are escaped by backslashes.")
    return notes


def _ends_in_line_end(path: Path, dialect: Dialect) -> bool:
    """Return whether the last row of a file ends in a line end, or the file has no row."""
    with path.open("rb") as file:
        if file.seek(0, SEEK_END) <= dialect.body_start:
            return True
        file.seek(-1, SEEK_END)
        return file.read() in {b"\n", b"\r"}
