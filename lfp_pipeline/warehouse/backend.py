"""The warehouse as the rest of the package sees it: a protocol that names no kind of storage.

`duckdb_file.Warehouse` implements it for a database in a DuckDB file, `lake.Lake` for a DuckLake.
The SQL of this package runs on a DuckDB connection with the warehouse attached as `warehouse`, so
each implementation has to attach its tables under that name.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, Self

import duckdb

from lfp_pipeline.warehouse.writer_lock import WriterLock


@dataclass(frozen=True)
class Maintenance:
    """What the maintenance of a warehouse has done, or would do.

    Attributes:
        files_before: the number of files of the tables.
        files: their number afterwards.
    """

    files_before: int
    files: int
    snapshots_expired: int
    files_removed: int
    orphans_removed: int


class Backend(Protocol):
    """A database of products with one writer at a time.

    Sessions and attaching raise `WarehouseBusyError` where another process uses the database, and
    `WarehouseCorruptError` where the database is damaged. `read_session` and `attached_read_only`
    raise `duckdb.Error` where there is no database, or a process writes it.
    """

    @property
    def location(self) -> str:
        """The place of the database, for people."""

    @property
    def exists(self) -> bool:
        """Whether there is a database; the first session creates one."""

    @property
    def is_corrupt(self) -> bool:
        """Whether the database looks damaged from outside, without opening it."""

    @property
    def is_shadow(self) -> bool:
        """Whether the database is still being built beside the one in use."""

    @property
    def is_read_only(self) -> bool:
        """Whether sessions change nothing; without a database, they raise an `LfpError`."""

    @property
    def keeps_row_order(self) -> bool:
        """Whether the rows of a file that is loaded directly keep its order, so `rowid` counts."""

    @property
    def size_bytes(self) -> int:
        """The size of the database; 0 where there is none."""

    @property
    def folders(self) -> Sequence[str]:
        """The folders, or prefixes in a bucket, that a connection must be able to access."""

    @property
    def lock(self) -> WriterLock:
        """The lock of the only writer."""

    def means_damage(self, error: duckdb.Error) -> bool:
        """Return whether an error of reading the tables means that they are damaged.

        False for a server or a store that does not answer, a full disk and the like.
        """

    def cached_id(self) -> str | None:
        """Return the id of the database without opening it; None where it is not known."""

    def waiting(self, seconds: float) -> Self:
        """Return the same warehouse with another longest wait for other runs and programs."""

    def connect(self, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Return a new connection; it can be attached even once it is confined to `folders`.

        Args:
            config: DuckDB's settings, instead of those of the warehouse.
        """

    def attached(
        self, connection: duckdb.DuckDBPyConnection, purpose: str, log: logging.Logger
    ) -> AbstractContextManager[None]:
        """Take the writer lock and attach the database for the block, and always detach it."""

    def session(
        self, purpose: str, log: logging.Logger
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Take the writer lock, and yield a new connection with the database attached."""

    def locked_session(
        self, log: logging.Logger
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Yield a new connection with the database attached, to a holder of the writer lock."""

    def read_session(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Yield a new connection to the database as it is now, to read without the writer lock."""

    def use_tables(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let statements of an attached connection name the tables without `warehouse`."""

    def attached_read_only(
        self, connection: duckdb.DuckDBPyConnection, name: str
    ) -> AbstractContextManager[None]:
        """Attach the database under a name, beside another one, to read for the block."""

    def flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write all that is committed to where `swap_in` and `attached_read_only` find it.

        Raises:
            duckdb.Error: this failed; nothing is lost.
        """

    def maintain(
        self, retention: timedelta, log: logging.Logger, *, dry_run: bool
    ) -> Maintenance | None:
        """Keep the storage of the tables dense; None: this storage has no files to merge.

        Args:
            retention: the age up to which snapshots are kept.
        """

    def shadow(self) -> AbstractContextManager[Self]:
        """Yield an empty warehouse beside this one; it is removed after the block."""

    def swap_in(self, shadow: Self) -> None:
        """Put a shadow, which has been flushed, in the place of this database, under its lock.

        Raises:
            OSError: this failed; the old database stands.
            duckdb.Error: likewise.
        """

    def move_aside(self, name: str, log: logging.Logger) -> None:
        """Give a database that cannot be read another name."""
