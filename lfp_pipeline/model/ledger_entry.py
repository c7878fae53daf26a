"""What became of a delivery: its row in the ledger."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_ROWS_READ = ("rows_read", "rows_superseded", "rows_rejected")
_READ = (*_ROWS_READ, "blank_lines", "repeated_headers", "lines_above_header")


class Status(StrEnum):
    """What became of a delivery."""

    MERGED = "merged"
    REFUSED = "refused"
    FAILED = "failed"
    REVERTED = "reverted"

    @property
    def is_applied(self) -> bool:
        """Whether the tables have it as people want: a refused or failed delivery is in none."""
        return self is Status.MERGED or self is Status.REVERTED

    @property
    def told(self) -> str:
        """As what a delivery did: `failed`, `was refused`."""
        return "failed" if self is Status.FAILED else f"was {self}"


STATUSES = {str(status): status for status in Status}
"""By their names: for many, faster than a call of `Status` for each."""


@dataclass(frozen=True)
class LedgerEntry:
    """The account of one delivery. Of a delivery that is not merged, no row or line counts.

    Attributes:
        rows_read: records in the file; of a deletion, skus.
        rows_inserted: of new skus.
        rows_updated: of known skus, with another name or description.
        rows_unchanged: of known skus, the same as before, but newer; of a deletion, of skus that
            were not there.
        rows_superseded: replaced by a later row of the same file.
        rows_stale: older than what the warehouse holds.
        rows_rejected: not accepted; each is in `rejected_rows`.
        rows_deleted: of a deletion, of products that it has deleted.
        error: why it was not merged; of a reverted one, that it is and since when.
        read_with: the fingerprint of how it was read, if it is merged; or, of one that was and is
            not, of how it is to be read when it is merged again.
        seconds: from the landed file to the commit, waiting included, and what was merged together.
        blank_lines: skipped lines: empty ones, and rows of nothing but delimiters and white space.
        repeated_headers: skipped rows that repeat the header.
        lines_above_header: skipped lines before the header.
        notes: what people should know of how the file was read, a line each; also of a refused one.
        read_conditions: what `read_with` is the fingerprint of, as text; None: it was not recorded.
    """

    delivery_id: str
    status: Status
    merged_at: datetime | None = None
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    rows_superseded: int = 0
    rows_stale: int = 0
    rows_rejected: int = 0
    rows_deleted: int = 0
    error: str | None = None
    read_with: str | None = None
    seconds: float | None = None
    blank_lines: int = 0
    repeated_headers: int = 0
    lines_above_header: int = 0
    notes: str | None = None
    read_conditions: str | None = None

    def is_read_as(self, again: "LedgerEntry") -> bool:
        """Whether reading the delivery again has counted the same, whatever the fates are.

        Where the conditions were not recorded, skipped lines may not have been counted, either.
        """
        counts = _READ if self.read_conditions is not None else _ROWS_READ
        return all(getattr(self, name) == getattr(again, name) for name in counts)

    @property
    def rows_taken(self) -> int:
        """The rows that were the newest of their skus when they were merged."""
        return self.rows_inserted + self.rows_updated + self.rows_unchanged

    @property
    def rows_accounted(self) -> int:
        """The sum of all fates; it equals `rows_read`. Skipped lines are no rows."""
        return (
            self.rows_inserted
            + self.rows_updated
            + self.rows_unchanged
            + self.rows_superseded
            + self.rows_stale
            + self.rows_rejected
            + self.rows_deleted
        )


def unmerged_entry(
    delivery_id: str, status: Status, error: str, before: LedgerEntry | None
) -> LedgerEntry:
    """Return the account of a delivery that is not merged.

    Args:
        delivery_id: whose.
        status: what it is instead.
        error: why.
        before: its account until now, which may tell how it is to be read when it is merged again.
    """
    if before is None:
        return LedgerEntry(delivery_id, status, error=error)
    return LedgerEntry(
        delivery_id,
        status,
        error=error,
        read_with=before.read_with,
        read_conditions=before.read_conditions,
    )
