"""The ledger entry of a delivery: its status, its row counts, and how it was read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class Status(StrEnum):
    """The state of a delivery in a database."""

    MERGED = "merged"
    REFUSED = "refused"
    FAILED = "failed"
    REVERTED = "reverted"

    @property
    def phrase(self) -> str:
        """The status as a predicate, for people: `failed`, `was refused`."""
        return "failed" if self is Status.FAILED else f"was {self}"


STATUSES = {str(status): status for status in Status}
"""The statuses by name; faster than a call of `Status` for each of many."""

APPLIED = frozenset({Status.MERGED, Status.REVERTED})
"""The statuses of deliveries that the tables have as people want."""


@dataclass(frozen=True)
class RowCounts:
    """The number of rows that a delivery has, and of those that met each fate.

    The fields after `read` are the fates. The ledger keeps each field in a column: `rows_read`,
    `rows_inserted` and so on.

    Attributes:
        read: records in the file; of a deletion, skus.
        inserted: rows of new skus.
        updated: rows of known skus, with another name or description.
        unchanged: rows of known skus, the same as before, but newer; of a deletion, skus that were
            not in products.
        superseded: rows that a later row of the same file replaces.
        stale: rows that are older than what the warehouse holds.
        rejected: rows that are not accepted; each is in `rejected_rows`.
        deleted: of a deletion, products that were deleted.
    """

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    stale: int = 0
    rejected: int = 0
    deleted: int = 0

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the counts of a row of the ledger; an older table lacks some columns."""
        return cls(*(row.get(column) or 0 for column in ROW_COLUMNS))

    @property
    def fates(self) -> dict[str, int]:
        """The number of rows by fate."""
        return {fate: getattr(self, fate) for fate in FATES}

    @property
    def accounted(self) -> int:
        """The sum of all fates; it equals `read`. Skipped lines are no rows."""
        return sum(self.fates.values())

    @property
    def winners(self) -> int:
        """The number of rows that were the newest of their skus when they were merged."""
        return self.inserted + self.updated + self.unchanged

    @property
    def of_file(self) -> "RowCounts":
        """The counts that the file alone decides, whatever the warehouse holds."""
        return RowCounts(self.read, superseded=self.superseded, rejected=self.rejected)

    def __str__(self) -> str:
        """The fates that rows have met, for people: `2 inserted, 1 stale`; empty without rows."""
        return ", ".join(f"{rows:,} {fate}" for fate, rows in self.fates.items() if rows)


FATES = tuple(field.name for field in fields(RowCounts))[1:]
"""The names of the fates."""

ROW_COLUMNS = tuple(f"rows_{field.name}" for field in fields(RowCounts))
"""The columns of the ledger that hold the fields of `RowCounts`, in their order."""

FATE_COLUMNS = ROW_COLUMNS[1:]
"""The columns of the fates."""


@dataclass(frozen=True)
class LedgerEntry:
    """The ledger entry of a delivery. All counts are 0 unless the delivery is merged.

    Attributes:
        merged_at: the time of the commit, in UTC without a zone.
        rows: the rows of the delivery by fate.
        error: why the delivery is not merged; of a reverted one, since when.
        read_with: the fingerprint of the conditions under which the delivery was read. Its next
            merge, if it is reverted now, reads it under the same conditions.
        seconds: from the landed file to the commit, including waits and the rest of its batch.
        blank_lines: skipped lines that are empty, or hold only delimiters and white space.
        repeated_headers: skipped rows that repeat the header.
        lines_above_header: skipped lines before the header.
        notes: notes for people on how the file was read, a line each; also of a refused delivery.
        read_conditions: the conditions themselves, as text; None: they were not recorded.
        is_regular: whether the file was read without a repair, and all of its records are accepted
            rows; None: that was not recorded.
    """

    delivery_id: str
    status: Status
    merged_at: datetime | None = None
    rows: RowCounts = RowCounts()
    error: str | None = None
    read_with: str | None = None
    seconds: float | None = None
    blank_lines: int = 0
    repeated_headers: int = 0
    lines_above_header: int = 0
    notes: str | None = None
    read_conditions: str | None = None
    is_regular: bool | None = None

    def is_read_as(self, again: "LedgerEntry") -> bool:
        """Return whether another reading of the delivery gave the same counts.

        Entries without recorded conditions may lack the counts of skipped lines, too.
        """
        return self.rows.of_file == again.rows.of_file and (
            self.read_conditions is None or self.skipped_lines == again.skipped_lines
        )

    @property
    def skipped_lines(self) -> tuple[int, int, int]:
        """The lines that are no rows: blank ones, repeated headers, those above the header."""
        return self.blank_lines, self.repeated_headers, self.lines_above_header


def unmerged_entry(
    delivery_id: str, status: Status, error: str, before: LedgerEntry | None
) -> LedgerEntry:
    """Return the entry of a delivery that is not merged; the conditions of reading are kept."""
    if before is None:
        return LedgerEntry(delivery_id, status, error=error)
    return LedgerEntry(
        delivery_id,
        status,
        error=error,
        read_with=before.read_with,
        read_conditions=before.read_conditions,
    )
