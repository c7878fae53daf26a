"""What the raw index has of a delivery that landed."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.desired_state import should_land_again
from lfp_pipeline.sources.inbox import InboxFile


class Landed(NamedTuple):
    """What the raw zone tells of a delivery.

    Attributes:
        root: the raw zone's folder, with a `/` at its end.
        key: its partition.
        stem: of the names of its files.
        ended: the status that is noted of it, if that is an end, and what people want; or None.
        noted_id: the database that the note speaks of.
        noted_ns: when it was noted, as a file time; None: it was not.
        reverted: whether it is to count as if it had never come.
        pruned: whether its bytes are not kept any longer.
        source_ctime_ns: when the file that it was read from was last written, moved or touched;
            None: that was not recorded.
        has_newer: whether a newer delivery of its partition counts, or may still count.
    """

    root: str
    key: str
    stem: str
    ended: str | None
    noted_id: str | None
    noted_ns: int | None
    reverted: bool
    pruned: bool
    source_ctime_ns: int | None
    has_newer: bool

    @property
    def raw(self) -> str:
        """Path of its raw file."""
        return f"{self.root}{self.key}/{self.stem}.raw"

    @property
    def delivery_id(self) -> str:
        """Its name."""
        return delivery_id_of(self.key, self.stem)

    def state(self, recorded: Status | None) -> DeliveryState:
        """Return its state in the database that has recorded that status of it."""
        desired = Status.REVERTED if self.reverted else Status.MERGED
        return DeliveryState(desired, recorded, not self.pruned)

    def has_ended(self, database_id: str | None) -> bool:
        """Whether it is noted as being in its desired state in that database."""
        return self.ended is not None and self.noted_id == database_id

    def should_land_again(self, file: InboxFile) -> bool:
        """Whether that file of its version may have other bytes, or brings bytes that were lost."""
        if not self.is_read_from(file.ctime_ns):
            return True
        if not self.pruned and _size_of(self.raw) == file.size_bytes:
            return False
        return should_land_again(Path(self.raw), file.size_bytes, file.ctime_ns)

    def is_read_from(self, ctime_ns: int) -> bool:
        """Whether a file of its version that has this ctime is the file that it was read from.

        Where the ctime was not recorded, it is, unless it has changed after the outcome was noted.
        A ctime in the future tells nothing then.
        """
        if self.source_ctime_ns is not None:
            return ctime_ns == self.source_ctime_ns
        return self.noted_ns is None or not self.noted_ns < ctime_ns <= time.time_ns()


def delivery_id_of(key: str, stem: str) -> str:
    """Return the id of the delivery whose files have that stem."""
    stamp, _, digest = stem.rpartition("-")
    return f"{key}#{stamp}#{digest}"


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (twice as fast, for each file of the inbox)
    except FileNotFoundError:
        return None
