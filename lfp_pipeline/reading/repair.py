"""The repaired copy of a file: it loads without an error, and lists the bad records of the file.

A placeholder replaces each record that cannot be read: a good record whose sku is a mark. So every
other row keeps its number, and every byte of the file is accounted for. In the copy, all records
have the file's main line end, empty lines are removed, and quotes are escaped by quotes.
"""

import bisect
import re
import secrets
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import merge
from mmap import mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lfp_pipeline.errors import AnotherHeaderError
from lfp_pipeline.reading.bad_records import BadRecord, DiagnosingGrammar
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect
from lfp_pipeline.reading.encoding import invalid_utf8_offsets
from lfp_pipeline.reading.records import LINE_END, RecordForm, mapped
from lfp_pipeline.reading.reject_limit import INVALID_ENCODING, CommonestReason, RejectLimit

BLANK_ROW, REPEATED_HEADER = "blank", "header"
"""Placeholders of skipped rows have these words instead of the number of a bad record."""

_EXCERPT_BYTES = 400

_ESCAPE = re.compile(rb"\\[\x00-\xff]")


@dataclass
class RepairedCopy:
    """A repaired copy, its bad records in order, and the offsets in the file of its records.

    Attributes:
        mark: prefix of the sku of a placeholder; the index into `bad_records` follows.
        bad_records: replaced by placeholders, with offsets in the original file.
        empty_lines: number of empty lines that were removed.
        blank_rows: number of placeholders for rows of only white space.
        repeated_headers: number of placeholders for rows that repeat the header.
    """

    path: Path
    form: RecordForm
    mark: str = field(default_factory=lambda: f"rejected-{secrets.token_hex(8)}-")
    bad_records: list[BadRecord] = field(default_factory=list)
    empty_lines: int = 0
    blank_rows: int = 0
    repeated_headers: int = 0
    _copy_offsets: "array[int]" = field(default_factory=lambda: array("q"))
    _file_offsets: "array[int]" = field(default_factory=lambda: array("q"))

    def note_shift(self, copy_offset: int, file_offset: int) -> None:
        """Note that the bytes of the copy from here on are those of the file at `file_offset`."""
        self._copy_offsets.append(copy_offset)
        self._file_offsets.append(file_offset)

    @property
    def shifts(self) -> int:
        """Number of noted shifts."""
        return len(self._copy_offsets)

    def forget_shifts(self, kept: int) -> None:
        """Delete all shifts but the first ones."""
        del self._copy_offsets[kept:], self._file_offsets[kept:]

    def file_offset(self, copy_offset: int) -> int:
        """Return the offset in the file of a record with this offset in the copy."""
        return self._shifted(bisect.bisect_right(self._copy_offsets, copy_offset) - 1, copy_offset)

    def file_range(self, start: int, end: int) -> tuple[int, int]:
        """Return the start and the end in the file of a record of the copy."""
        index = bisect.bisect_left(self._copy_offsets, end)
        if self._copy_offsets[index : index + 1] != array("q", [end]):
            index -= 1
        return self.file_offset(start), self._shifted(index, end)

    def _shifted(self, index: int, copy_offset: int) -> int:
        return self._file_offsets[index] + copy_offset - self._copy_offsets[index]


def write_repaired_copy(
    file: Path,
    dialect: Dialect,
    copy: Path,
    limit: RejectLimit,
    objections: Mapping[int, str] | None = None,
) -> RepairedCopy:
    """Write the repaired copy of a UTF-8 file to the path `copy`.

    `objections` has offsets within records that the grammar takes for good, but DuckDB does not,
    with DuckDB's reasons.

    Raises:
        DeliveryRefusedError: the file has more bad records than the limit, or another header.
    """
    repaired = RepairedCopy(copy, form=replace(dialect.form, backslash=False))
    suspects = merge(
        ((offset, INVALID_ENCODING) for offset in invalid_utf8_offsets(file, dialect.body_start)),
        sorted((objections or {}).items()),
    )
    with mapped(file) as buffer, copy.open("xb") as out:
        _Repairer(buffer, dialect, repaired, out, limit).run(suspects)
    return repaired


@dataclass
class _Repairer:
    """Writes a repaired copy, run by run and record by record."""

    buffer: mmap
    dialect: Dialect
    repaired: RepairedCopy
    out: BinaryIO
    limit: RejectLimit

    def __post_init__(self) -> None:
        self.form = self.dialect.form
        self.grammar = DiagnosingGrammar(self.form)
        self.like_header = self.dialect.columns.like_header(self.form.delimiter)
        self.rewritten: _Rewritten | None = None

    def run(self, suspects: Iterable[tuple[int, str]]) -> None:
        """Write the copy; each suspect is an offset within a bad record, with the reason."""
        size = len(self.buffer)
        named = self.form.width - self.form.last_empty
        self._write_record([f"c{index}" for index in range(named)] + [""] * self.form.last_empty)
        position = self.dialect.body_start
        self._note_shift(position)
        upcoming = iter(suspects)
        suspect = next(upcoming, None)
        while position < size:
            while suspect is not None and suspect[0] < position:
                suspect = next(upcoming, None)
            end = self.grammar.plain_run_end(self.buffer, position, suspect[0] if suspect else size)
            if broken := self._broken_record(position, end):
                end = broken.start
            self.out.write(self._escaped(self.buffer[position:end]))
            position = self._record(end, suspect, broken)

    def _broken_record(self, start: int, end: int) -> BadRecord | None:
        """Return the good record before `end` if its last value continues below.

        Such a value has lost its opening quote. Its record is the last one of the run [start, end),
        or the one written before an empty run; then it is removed from the copy again.
        """
        text_end = None
        if not self.form.bare_quotes and (end > start or self.rewritten):
            text_end = self.grammar.broken_text_end(self.buffer, end)
        if text_end is None:
            return None
        alone = None if end > start else self.rewritten
        last = alone.start if alone else self.grammar.last_record(self.buffer, start, end)
        if self.grammar.is_blank(self.buffer, last, end):
            return None
        if alone:
            self.repaired.forget_shifts(alone.shifts)
            self.out.seek(alone.copy_offset)
            self.out.truncate()
        quote = self.buffer.find(b'"', end, text_end)
        return BadRecord(last, text_end, "stray quote", "the quote at byte {} opens nothing", quote)

    def _record(
        self, boundary: int, suspect: tuple[int, str] | None, broken: BadRecord | None
    ) -> int:
        """Copy, rewrite or replace the record that ended a run; return its end."""
        self.rewritten = None
        start = self.grammar.first_record_at(self.buffer, boundary)
        if start > boundary:
            self.repaired.empty_lines += len(LINE_END.findall(self.buffer, boundary, start))
        if start >= len(self.buffer):
            return start
        self._note_shift(boundary)
        self._note_shift(start)
        good = None if broken else self.grammar.good_record(self.buffer, start)
        if broken is not None:
            end = self._reject(broken)
        elif good is None:
            end = self._replace(self.grammar.bad_record(self.buffer, start))
        elif suspect is not None and start <= suspect[0] < good[1]:
            offset, reason = suspect
            end = self._replace(BadRecord(start, good[1], reason, "at byte {}", offset))
        else:
            text_end, end = good
            self.rewritten = _Rewritten(start, self.out.tell(), self.repaired.shifts)
            plain = self.grammar.plain(self.buffer[start:text_end])
            self.out.write(self._escaped(plain) + self.form.newline)
        self._note_shift(end)
        return end

    def _note_shift(self, position: int) -> None:
        self.repaired.note_shift(self.out.tell(), position)

    def _replace(self, bad: BadRecord) -> int:
        if self.grammar.is_blank(self.buffer, bad.start, bad.end):
            self.repaired.blank_rows += 1
            self._write_placeholder(BLANK_ROW)
        elif self._repeats_header(bad):
            self.repaired.repeated_headers += 1
            self._write_placeholder(REPEATED_HEADER)
        else:
            self._reject(bad)
        return bad.end

    def _reject(self, bad: BadRecord) -> int:
        if len(self.repaired.bad_records) == self.limit.remaining:
            raise self.limit.refusal(self._commonest_reason())
        self._write_placeholder(str(len(self.repaired.bad_records)))
        self.repaired.bad_records.append(bad)
        return bad.end

    def _commonest_reason(self) -> CommonestReason:
        bad_records = self.repaired.bad_records
        ((reason, count),) = Counter(bad.reason for bad in bad_records).most_common(1)
        first = next(bad for bad in bad_records if bad.reason == reason)
        raw = self.buffer[first.start : min(first.end, first.start + _EXCERPT_BYTES)]
        place = f"the record at byte {first.start}"
        return CommonestReason(reason, count, len(bad_records), place, first.detail, raw)

    def _repeats_header(self, bad: BadRecord) -> bool:
        """Return whether a bad record repeats the header with more or fewer cells, or a mark.

        Raises:
            AnotherHeaderError: the record is another header.
        """
        is_none = bad.reason == INVALID_ENCODING or bad.end - bad.start > HEAD_BYTES
        if is_none or not self.like_header.match(self.buffer, bad.start):
            return False
        record = self.buffer[bad.start : bad.end]
        values = self.grammar.values_of_header(record)
        if self.dialect.columns.are_others_in(values):
            raise AnotherHeaderError(place="The record at byte", number=bad.start)
        return self.dialect.columns.are_repeated_by(values)

    def _write_placeholder(self, number: str) -> None:
        cells = [""] * self.form.width
        cells[self.dialect.columns.positions["sku"]] = self.repaired.mark + number
        self._write_record(cells)

    def _write_record(self, cells: list[str]) -> None:
        self.out.write(self.dialect.delimiter.join(cells).encode() + self.form.newline)

    def _escaped(self, records: bytes) -> bytes:
        """Return good records with quotes escaped by quotes, in as many bytes as before."""
        if self.form.backslash and b"\\" in records:
            return _ESCAPE.sub(lambda found: b'""' if found[0] == b'\\"' else found[0], records)
        return records


class _Rewritten(NamedTuple):
    """A good record that was written by itself.

    Attributes:
        start: offset in the file.
        copy_offset: offset in the copy.
        shifts: number of shifts noted before it.
    """

    start: int
    copy_offset: int
    shifts: int
