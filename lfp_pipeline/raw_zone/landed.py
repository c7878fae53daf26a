"""An entry of the raw index: what the raw zone says about a delivery."""

import time
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.desired_state import should_land_again
from lfp_pipeline.sources.inbox import InboxFile


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
        return delivery_id_of(self.key, self.stem)


class Landed(NamedTuple):
    """What the raw zone says about a delivery.

    Attributes:
        root: the folder of the raw zone, with a `/` at its end.
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

    root: str
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
    def raw(self) -> str:
        """The path of the raw file."""
        return f"{self.root}{self.key}/{self.stem}.raw"

    @property
    def delivery_id(self) -> str:
        """The id of the delivery."""
        return delivery_id_of(self.key, self.stem)

    def state(self, recorded: Status | None) -> DeliveryState:
        """Return the state of the delivery in a database that has recorded this status for it."""
        desired = Status.REVERTED if self.reverted else Status.MERGED
        return DeliveryState(desired, recorded, not self.pruned)

    def is_reconciled_in(self, database_id: str | None) -> bool:
        """Return whether the status note says that the database has the desired state."""
        return self.noted_status is not None and self.noted_id == database_id

    def should_land_again(self, file: InboxFile, raw_size: int | None) -> bool:
        """Return whether a file of this version may have other bytes, or restores lost bytes.

        Args:
            file: an inbox file with the delivery's time and size.
            raw_size: size of the raw file in bytes; None: it is missing.
        """
        if not self.is_read_from(file.ctime_ns):
            return True
        if raw_size == file.size_bytes and not self.pruned:
            return False
        return should_land_again(Path(self.raw), file.size_bytes, file.ctime_ns)

    def is_read_from(self, ctime_ns: int) -> bool:
        """Return whether a file of this version with this ctime is the one that was read.

        Without a recorded ctime, the file is the same unless it has changed after the status note.
        A ctime in the future proves no change.
        """
        if self.source_ctime_ns is not None:
            return ctime_ns == self.source_ctime_ns
        return self.noted_ns is None or not self.noted_ns < ctime_ns <= time.time_ns()


def delivery_id_of(key: str, stem: str) -> str:
    """Return the id of the delivery whose files have this stem."""
    return f"{key}#{stem.replace('-', '#')}"
