"""The warehouse as the rest of the package sees it: a protocol that names no database file.

`duckdb_file.Warehouse` implements it for a database in a DuckDB file. The SQL of this package runs
on a DuckDB connection with the warehouse attached as `warehouse`, so another implementation has to
attach its tables under that name.
"""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import duckdb

from lfp_pipeline.warehouse.writer_lock import WriterLock

State = tuple[tuple[str, int, int, int], ...]
"""A value that changes with every commit; of files: name, inode, size, modification time."""


class Backend(Protocol):
    """A database of products with one writer at a time.

    Sessions, attaching and `blocking_writers` raise `WarehouseBusyError` where another process uses
    the database, and `WarehouseCorruptError` where the database is damaged. `read_session` and
    `attached_read_only` raise `duckdb.Error` where there is no database, or a process writes it.
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
    def size_bytes(self) -> int:
        """The size of the database; 0 where there is none."""

    @property
    def state(self) -> State:
        """A value that changes with every commit, without opening the database."""

    @property
    def lock(self) -> WriterLock:
        """The lock of the only writer."""

    def cached_id(self) -> str | None:
        """Return the id of the database without opening it; None where it is not known."""

    def waiting(self, seconds: float) -> Self:
        """Return the same warehouse with another longest wait for other runs and programs."""

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection with nothing attached."""

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

    def attached_read_only(
        self, connection: duckdb.DuckDBPyConnection, name: str
    ) -> AbstractContextManager[None]:
        """Attach the database under a name, beside another one, to read for the block."""

    def blocking_writers(self, log: logging.Logger) -> AbstractContextManager[None]:
        """Refuse other programs that want to write the database, for the block."""

    def copy_to(self, file: BinaryIO, path: Path) -> None:
        """Copy the database into an open DuckDB file at that path, and its log beside that."""

    def shadow(self) -> AbstractContextManager[Self]:
        """Yield an empty warehouse beside this one; it is removed after the block."""

    def swap_in(self, shadow: Self) -> None:
        """Put a shadow, which has been checkpointed, in the place of this database.

        Raises:
            OSError: this failed; the old database stands.
        """

    def move_aside(self, name: str, log: logging.Logger) -> None:
        """Give a database that cannot be read another name."""
