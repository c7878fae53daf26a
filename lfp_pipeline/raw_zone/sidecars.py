"""What lies beside the bytes of a delivery: its record, its status note, and its markers.

.json                           the record (see `raw_records`)
.outcome                        the status note (see `status_notes`)
.reverted, .pruned, .rejects    markers of the desired state (see `desired_state`)
"""

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.model.delivery import RawName

RECORD = "json"
NOTE = "outcome"
REVERTED = "reverted"
PRUNED = "pruned"
REJECTS_DISMISSED = "rejects"
MARKERS = (REVERTED, PRUNED, REJECTS_DISMISSED)


class Sidecar(NamedTuple):
    """A sidecar of a delivery.

    Attributes:
        written_ns: when it was written, in nanoseconds since 1970.
        changed_ns: when it came to its present place, in nanoseconds since 1970.
    """

    content: bytes
    written_ns: int
    changed_ns: int

    @property
    def written_at(self) -> datetime:
        """When it was written, in UTC without a zone."""
        return utc_from_ns(self.written_ns)

    @property
    def text(self) -> str:
        """The content as text, damaged or not."""
        return self.content.decode(errors="replace")


class Sidecars(Protocol):
    """The sidecars of all deliveries of a raw zone. A write that returns survives a power cut.

    Attributes:
        are_apart: whether they can be restored without the bytes. Then a copy of each record is
            kept beside the bytes (see `adoption`).
    """

    are_apart: bool

    def read(self, name: RawName, suffix: str) -> Sidecar | None:
        """Return a sidecar; None: there is none."""

    def exists(self, name: RawName, suffix: str) -> bool:
        """Return whether there is a sidecar."""

    def write(
        self, name: RawName, suffix: str, content: bytes, written_ns: int | None = None
    ) -> None:
        """Write a sidecar, or replace it, as one that was written now, or at another time."""

    def remove(self, name: RawName, suffix: str) -> None:
        """Remove a sidecar, if there is one."""

    def changing(self, key: str) -> AbstractContextManager[None]:
        """Exclude other processes that change the deliveries of a partition, for a block."""

    def recorded(self, key: str) -> Iterator[str]:
        """Yield the stems of all records of a partition, well-formed or not."""

    def partitions(self) -> Collection[str]:
        """Return the keys of all partitions."""

    def describe(self, name: RawName, suffix: str) -> str:
        """Return where a sidecar is, for messages."""

    def refresh(self, index: sqlite3.Connection, keys: Collection[str] | None) -> None:
        """Bring an index up to date with some partitions, or with all (None)."""

    def now(self) -> datetime:
        """Return the present time of the clock that dates sidecars, in UTC without a zone."""


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar in a file; None: there is no such file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return Sidecar(file.read(), status.st_mtime_ns, status.st_ctime_ns)
    except FileNotFoundError:
        return None
