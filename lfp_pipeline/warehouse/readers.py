"""What readers see of a warehouse, as the rest of the package uses it.

`published.PublishedCopy` implements the protocol for a database in a file: DuckDB lets either one
process write a file or several read it, so readers have a copy. `lake_snapshots.Snapshots`
implements it for a lake, whose readers see each commit at once, and block nobody.
"""

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

import duckdb

State = tuple[tuple[str, int, int, int], ...]
"""A value that changes with every commit: name, inode, size and time of each file."""


@dataclass(frozen=True)
class PublishRecord:
    """The last publication, and the attempts since.

    Attributes:
        copied: the state of the database when it was copied.
        copied_at: the time of that, in seconds since the epoch.
        database_id: the id of the database then; None: an older version did not record it.
        seconds: the duration, without waiting for the writer lock.
        ended_at: when the last attempt ended, or began if its process died.
        failures: the number of failed attempts since.
    """

    copied: State = ()
    copied_at: float = 0.0
    database_id: str | None = None
    seconds: float = 0.0
    ended_at: float = 0.0
    failures: int = 0


class Published(Protocol):
    """The tables for readers.

    Attributes:
        time_share: the largest share of the time to spend publishing, from 0 to 1; 0 disables it.
    """

    time_share: float

    @property
    def location(self) -> str:
        """The place of what readers open, for people."""

    @property
    def source(self) -> str:
        """What readers see, in two or three words."""

    @property
    def is_apart(self) -> bool:
        """Whether readers have files of their own, which can be wrong or stale."""

    @property
    def last(self) -> PublishRecord:
        """The publish record; an empty one if it is missing or damaged."""

    @property
    def is_stale(self) -> bool:
        """Whether the warehouse has changed since it was published."""

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""

    @property
    def size_bytes(self) -> int:
        """The size of the files that only readers use."""

    def waiting(self, seconds: float) -> Self:
        """Return the same, with another longest wait of a publication."""

    def is_within_budget(self, extra_seconds: float = 0.0) -> bool:
        """Return whether publishing now keeps to the share of the time.

        A publication costs `extra_seconds` more than the duration of the last one.
        """

    def publish(self, log: logging.Logger) -> PublishRecord | None:
        """Publish the present tables, and return the record; None: they were published already.

        After a failure, readers see what they have seen before.

        Raises:
            WarehouseBusyError: another process keeps the database; the text names it.
            RebuildIncompleteError: the database was rebuilt, and still lacks deliveries.
            OSError: the copy cannot be written.
            duckdb.Error: the database cannot be read.
        """

    def missing_deliveries(self, log: logging.Logger) -> int:
        """Return the number of landed deliveries that a rebuilt database has not processed yet.

        Requires the writer lock. Until a new database has processed all deliveries, the copy of the
        former database is more complete. A delivery that has failed counts as processed.
        """

    def note_operation(
        self, operation: str, started_at: datetime, summary: str, log: logging.Logger
    ) -> None:
        """Record an operation that is done; log a warning where that is not possible."""

    def session(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Yield a connection with the tables attached as `warehouse`, unchanged for the block.

        Raises:
            duckdb.Error: there are none, or they cannot be read.
        """

    def attached(self, connection: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        """Attach the tables as `warehouse` to a connection of the warehouse, for the block."""
