"""Status notes: the status of a delivery beside its raw file, for sensors, which open no database.

The ledger is the truth; a note is a copy of its status, written after the commit. The note names
the database, and says nothing about another one. If a note is missing or contradicts the desired
state, the next run reconciles the delivery.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lfp_pipeline.common.atomic_files import remove_file, write_file
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import STATUSES, Status
from lfp_pipeline.raw_zone.desired_state import desired_status

_SUFFIX = ".outcome"


@dataclass(frozen=True)
class StatusNote:
    """The content of a status note.

    Attributes:
        status: the status in the ledger, or any text if the note is damaged.
        noted_ns: modification time of the note.
    """

    status: str
    database_id: str
    noted_ns: int

    def reconciled_status(self, desired: Status) -> Status | None:
        """Return the status if the delivery is in its desired state in that database; else None."""
        status = STATUSES.get(self.status)
        return status if DeliveryState(desired, status).is_reconciled else None


def write_status_note(raw: Path, status: str, database_id: str) -> None:
    """Write the status of the delivery with this raw file in a database."""
    write_file(raw.with_suffix(_SUFFIX), f"{status} {database_id}\n".encode())


def delete_status_note(raw: Path) -> None:
    """Delete the status note, so that the delivery is pending again."""
    remove_file(raw.with_suffix(_SUFFIX))


def last_recorded_status(raw: Path) -> str | None:
    """Return the last noted status of a delivery in any database; None: none was noted."""
    try:
        return raw.with_suffix(_SUFFIX).read_text(errors="replace").partition(" ")[0]
    except FileNotFoundError:
        return None


def last_noted_at(raw: Path) -> datetime | None:
    """Return when the status of a delivery was last noted, in UTC; None: it was not."""
    try:
        return datetime.fromtimestamp(raw.with_suffix(_SUFFIX).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def read_status(raw: Path, database_id: str | None) -> Status | None:
    """Return the noted status in a database; None: none, or the desired state is another one."""
    try:
        noted = read_status_note(raw.with_suffix(_SUFFIX))
    except FileNotFoundError:
        return None
    return (
        noted.reconciled_status(desired_status(raw)) if noted.database_id == database_id else None
    )


def read_status_note(path: Path) -> StatusNote:
    """Read a status note, damaged or not; raise FileNotFoundError if there is none."""
    with path.open(errors="replace") as file:
        status, _, database_id = file.read().strip().partition(" ")
        return StatusNote(status, database_id, os.fstat(file.fileno()).st_mtime_ns)
