"""An entry of the raw index: what the raw zone says about a delivery."""

import time
from typing import NamedTuple

from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status


class NotedStatus(NamedTuple):
    """What the status note of a delivery says, and since when.

    Attributes:
        status: what it says: merged, refused or reverted.
        noted_ns: its modification time.
    """

    key: str
    stem: str
    status: str
    noted_ns: int

    @property
    def delivery_id(self) -> str:
        """Id of the delivery."""
        return RawName(self.key, self.stem).delivery_id


class Landed(NamedTuple):
    """What the raw zone says about a delivery.

    Attributes:
        stem: stem of the names of its files.
        version_us: time of its version, in microseconds since 1970; None: its record is unreadable.
        size_bytes: size of its file; None: its record is unreadable.
        noted_status: the noted status, if the delivery is in its desired state; else None.
        noted_id: id of the database in the status note.
        noted_ns: modification time of the status note; None: there is none.
        reverted: whether its desired state is reverted.
        pruned: whether its bytes are pruned.
        source_ctime_ns: ctime of the local file that the delivery was read from; None: unknown.
        has_newer: whether a newer delivery of the partition counts, or may still count.
    """

    key: str
    stem: str
    version_us: int | None
    size_bytes: int | None
    noted_status: str | None
    noted_id: str | None
    noted_ns: int | None
    reverted: bool
    pruned: bool
    source_ctime_ns: int | None
    has_newer: bool

    @property
    def raw_name(self) -> RawName:
        """Its place in the raw zone."""
        return RawName(self.key, self.stem)

    @property
    def delivery_id(self) -> str:
        """The id of the delivery."""
        return RawName(self.key, self.stem).delivery_id

    def state(self, recorded: Status | None) -> DeliveryState:
        """Return the state of the delivery in a database that has recorded this status for it."""
        desired = Status.REVERTED if self.reverted else Status.MERGED
        return DeliveryState(desired, recorded, not self.pruned)

    def is_reconciled_in(self, database_id: str | None) -> bool:
        """Return whether the status note says that the database has the desired state."""
        return self.noted_status is not None and self.noted_id == database_id

    def is_read_from(self, ctime_ns: int) -> bool:
        """Return whether a file of this version with this ctime is the one that was read.

        Without a recorded ctime, the file is the same unless it has changed after the status note.
        A ctime in the future proves no change.
        """
        if self.source_ctime_ns is not None:
            return ctime_ns == self.source_ctime_ns
        return self.noted_ns is None or not self.noted_ns < ctime_ns <= time.time_ns()
