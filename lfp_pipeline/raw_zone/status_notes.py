"""What became of a delivery, noted beside its raw file for those who may not open the warehouse.

The ledger is the truth; a note is a copy of its word, written after the commit. It names the
database that it speaks of, and says nothing of another. Where it is lost, or not what people want
of the delivery now, that is offered again, and found to be in, or taken in or out.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lfp_pipeline.common.atomic_files import commit_file, sync_folder, temporary_sibling
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import STATUSES, Status
from lfp_pipeline.raw_zone.desired_state import desired_status

_SUFFIX = ".outcome"
MERGED = str(Status.MERGED)
REVERTED = str(Status.REVERTED)


@dataclass(frozen=True)
class StatusNote:
    """An outcome note, as it is.

    Attributes:
        status: in the ledger, if the note is one of ours.
        database_id: of the database that it speaks of.
        noted_ns: when it was noted, as a file time.
    """

    status: str
    database_id: str
    noted_ns: int

    def reconciled_status(self, desired: Status) -> Status | None:
        """Return the status if the delivery is in its desired state in that database; else None."""
        status = STATUSES.get(self.status)
        return status if DeliveryState(desired, status).is_reconciled else None


def write_status_note(raw: Path, status: str, database_id: str) -> None:
    """Note what became of the delivery whose raw file that is, in that database."""
    note = raw.with_suffix(_SUFFIX)
    with temporary_sibling(note) as (file, temporary):
        file.write(f"{status} {database_id}\n".encode())
        commit_file(file, temporary, note)


def delete_status_note(raw: Path) -> None:
    """Have the delivery be offered again."""
    with suppress(FileNotFoundError):
        raw.with_suffix(_SUFFIX).unlink()
        sync_folder(raw.parent)


def last_recorded_status(raw: Path) -> str | None:
    """What was noted of a delivery last, in whichever database; None: nothing ever was."""
    try:
        return raw.with_suffix(_SUFFIX).read_text(errors="replace").partition(" ")[0]
    except FileNotFoundError:
        return None


def read_status(raw: Path, database_id: str | None) -> Status | None:
    """The status that a delivery has come to its end with in that database, as noted, or None."""
    try:
        noted = read_status_note(raw.with_suffix(_SUFFIX))
    except FileNotFoundError:
        return None
    return (
        noted.reconciled_status(desired_status(raw)) if noted.database_id == database_id else None
    )


def read_status_note(path: Path) -> StatusNote:
    """Read an outcome note, whatever is in it.

    Raises:
        FileNotFoundError: there is none.
    """
    with path.open(errors="replace") as file:
        status, _, database_id = file.read().strip().partition(" ")
        return StatusNote(status, database_id, os.fstat(file.fileno()).st_mtime_ns)
