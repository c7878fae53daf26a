"""A copy of a file that reads without an error, and what was wrong with the file.

Each record that cannot be read is replaced in the copy by a placeholder: a good record whose sku is
a mark. So every other row keeps its number, and every byte of the file is accounted for. Odd line
ends become the file's own.
"""

import bisect
import secrets
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.encoding import invalid_utf8_offsets
from lfp_pipeline.reading.records import BadRecord
from lfp_pipeline.reading.reject_limit import RejectLimit

_COPY_BYTES = 1 << 23


@dataclass
class MendedCopy:
    """The copy, its bad records in order, and how its offsets lead back to the file's.

    Attributes:
        path: of the copy.
        mark: what the sku of a placeholder begins with; the index into `bad_records` follows.
        bad_records: what the placeholders stand for, with offsets in the original file.
    """

    path: Path
    mark: str = field(default_factory=lambda: f"rejected-{secrets.token_hex(8)}-")
    bad_records: list[BadRecord] = field(default_factory=list)
    _copy_offsets: "array[int]" = field(default_factory=lambda: array("q"))
    _file_offsets: "array[int]" = field(default_factory=lambda: array("q"))

    def note_shift(self, copy_offset: int, file_offset: int) -> None:
        """From here on, the copy's bytes stand for the file's bytes from `file_offset`."""
        self._copy_offsets.append(copy_offset)
        self._file_offsets.append(file_offset)

    def file_offset(self, copy_offset: int) -> int:
        """Where a record that begins there in the copy begins in the file."""
        return self._shifted(bisect.bisect_right(self._copy_offsets, copy_offset) - 1, copy_offset)

    def file_range(self, start: int, end: int) -> tuple[int, int]:
        """Where a record of the copy begins and ends in the file."""
        index = bisect.bisect_left(self._copy_offsets, end)
        if self._copy_offsets[index : index + 1] != array("q", [end]):
            index -= 1
        return self.file_offset(start), self._shifted(index, end)

    def _shifted(self, index: int, copy_offset: int) -> int:
        return self._file_offsets[index] + copy_offset - self._copy_offsets[index]


def mend(
    file: Path,
    dialect: Dialect,
    copy: Path,
    limit: RejectLimit,
    objections: Mapping[int, str] | None = None,
) -> MendedCopy:
    """Write the mended copy of a UTF-8 file.

    Args:
        file: what cannot be read as it is.
        dialect: how it is written.
        copy: the file to write.
        limit: with how many bad records the file is given up.
        objections: offsets in records that DuckDB rejected although the grammar takes them, with
            DuckDB's reason.

    Raises:
        DeliveryRefusedError: there are more bad records than the limit.
    """
    mended = MendedCopy(copy)
    suspects = merge(
        ((offset, "invalid encoding") for offset in invalid_utf8_offsets(file, dialect.body_start)),
        sorted((objections or {}).items()),
    )
    with (
        file.open("rb") as opened,
        mmap(opened.fileno(), 0, access=ACCESS_READ) as buffer,
        copy.open("xb") as out,
    ):
        _Mender(buffer, dialect, mended, out, limit).run(suspects)
    return mended


class _Mender:
    def __init__(
        self,
        buffer: mmap,
        dialect: Dialect,
        mended: MendedCopy,
        out: BinaryIO,
        limit: RejectLimit,
    ) -> None:
        self.buffer = buffer
        self.grammar = dialect.grammar()
        self.dialect = dialect
        self.mended = mended
        self.out = out
        self.limit = limit
        self.most = limit.left

    def run(self, suspects: Iterable[tuple[int, str]]) -> None:
        size = len(self.buffer)
        self._write_record([f"c{index}" for index in range(self.grammar.columns)])
        position = self.dialect.body_start
        self.mended.note_shift(self.out.tell(), position)
        upcoming = _Suspects(suspects)
        while position < size:
            suspect = upcoming.at_or_after(position)
            end = self.grammar.plain_run_end(self.buffer, position, suspect[0] if suspect else size)
            self._copy(position, end)
            position = self._record(end, suspect)

    def _record(self, boundary: int, suspect: tuple[int, str] | None) -> int:
        """Copy, rewrite or replace the one record that ended a run; return where it ends."""
        start = self.grammar.first_record_at(self.buffer, boundary)
        if start >= len(self.buffer):
            return start
        self.mended.note_shift(self.out.tell(), boundary)
        self.mended.note_shift(self.out.tell(), start)
        good = self.grammar.good_record(self.buffer, start)
        if good is None:
            end = self._replace(self.grammar.bad_record(self.buffer, start))
        elif suspect is not None and start <= suspect[0] < good[1]:
            offset, reason = suspect
            end = self._replace(BadRecord(start, good[1], reason, "at byte {}", offset))
        else:
            text_end, end = good
            self.out.write(self.grammar.plain(self.buffer[start:text_end]) + self.grammar.newline)
        self.mended.note_shift(self.out.tell(), end)
        return end

    def _replace(self, bad: BadRecord) -> int:
        if len(self.mended.bad_records) == self.most:
            place = f"at byte {bad.start}"
            raise self.limit.refusal(place, bad.reason)
        cells = [""] * self.grammar.columns
        sku = self.dialect.columns.positions["sku"]
        cells[sku] = f"{self.mended.mark}{len(self.mended.bad_records)}"
        self._write_record(cells)
        self.mended.bad_records.append(bad)
        return bad.end

    def _write_record(self, cells: list[str]) -> None:
        self.out.write(self.dialect.delimiter.join(cells).encode() + self.grammar.newline)

    def _copy(self, start: int, end: int) -> None:
        for piece in range(start, end, _COPY_BYTES):
            self.out.write(self.buffer[piece : min(piece + _COPY_BYTES, end)])


class _Suspects:
    """Offsets in order, looked at one at a time."""

    def __init__(self, suspects: Iterable[tuple[int, str]]) -> None:
        self._rest: Iterator[tuple[int, str]] = iter(suspects)
        self._next = next(self._rest, None)

    def at_or_after(self, position: int) -> tuple[int, str] | None:
        while self._next is not None and self._next[0] < position:
            self._next = next(self._rest, None)
        return self._next
