"""Status notes: the status of a delivery beside its bytes, for sensors, which open no database.

The ledger is the truth; a note is a copy of its status, written after the commit. The note names
the database, and says nothing about another one. If a note is missing or contradicts the desired
state, the next run reconciles the delivery.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import STATUSES, Status
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from lfp_pipeline.raw_zone.sidecars import NOTE, Sidecar, Sidecars


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

    @classmethod
    def parsed(cls, note: Sidecar) -> "StatusNote":
        """Return a status note, damaged or not."""
        status, _, database_id = note.text.strip().partition(" ")
        return cls(status, database_id, note.written_ns)

    def reconciled_status(self, desired: Status) -> Status | None:
        """Return the status if the delivery is in its desired state in that database; else None."""
        status = STATUSES.get(self.status)
        return status if DeliveryState(desired, status).is_reconciled else None


@dataclass(frozen=True)
class StatusNotes:
    """The status notes of all deliveries of a raw zone."""

    sidecars: Sidecars
    desired: DesiredStates

    def write(self, name: RawName, status: str, database_id: str) -> None:
        """Write the status of a delivery in a database."""
        self.sidecars.write(name, NOTE, f"{status} {database_id}\n".encode())

    def delete(self, name: RawName) -> None:
        """Delete the status note, so that the delivery is pending again."""
        self.sidecars.remove(name, NOTE)

    def last_status(self, name: RawName) -> str | None:
        """Return the last noted status of a delivery in any database; None: none was noted."""
        note = self.sidecars.read(name, NOTE)
        return note.text.partition(" ")[0] if note else None

    def last_noted_at(self, name: RawName) -> datetime | None:
        """Return when the status of a delivery was last noted, in UTC; None: it was not."""
        note = self.sidecars.read(name, NOTE)
        return note.written_at.replace(tzinfo=UTC) if note else None

    def status_in(self, name: RawName, database_id: str | None) -> Status | None:
        """Return the status in a database; None: none, or the desired state is another one."""
        found = self.sidecars.read(name, NOTE)
        if found is None:
            return None
        note = StatusNote.parsed(found)
        if note.database_id != database_id:
            return None
        return note.reconciled_status(self.desired.status(name))
