"""A warehouse in a DuckDB file: attached by its one writer for as long as the writing takes."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.common.duckdb_tools import attach, checkpoint_if_due, checkpoint_seldom
from lfp_pipeline.errors import (
    WarehouseBusyError,
    WarehouseCorruptError,
    WarehouseInconsistentError,
    hint_for,
    user_message,
)
from lfp_pipeline.warehouse.id_file import forget_id, read_id, write_id
from lfp_pipeline.warehouse.ledger import write_count
from lfp_pipeline.warehouse.schema import database_id, migrate, renew_database_id
from lfp_pipeline.warehouse.writer_lock import WriterLock

_RETRY_SECONDS = 0.2
_LOCK_CONFLICT = "Could not set lock on file"
_FOREIGN_LOG = "WAL checkpoint iteration does not match"
_CORRUPT = "Corrupt database file"
_UNREADABLE = (
    "not a valid DuckDB database file",
    "Could not read enough bytes",
    "Is a directory",
    "Failure while replaying WAL file",
)
_OPEN_IN_THIS_PROCESS = "Unique file handle conflict"

_MAGIC = b"DUCK"
_MAGIC_AT = 8
"""Where DuckDB's files have it: after the checksum of their header."""


@dataclass(frozen=True)
class Warehouse:
    """The database file and how long to wait for it.

    Attributes:
        path: of the database file.
        writer_wait_seconds: the longest wait for another run of this program.
        other_process_wait_seconds: the longest wait for another program that has the file open.
        config: DuckDB's settings for connections that are made here: threads, memory, spill.
        is_shadow: whether it is still being built. Its id is not cached, and no status note is written.
    """

    path: Path
    writer_wait_seconds: float
    other_process_wait_seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    is_shadow: bool = False

    @contextmanager
    def attached(
        self, connection: duckdb.DuckDBPyConnection, purpose: str, log: logging.Logger
    ) -> Iterator[None]:
        """Attach the database as `warehouse`, alone in the world, and always let go of it.

        Raises:
            WarehouseBusyError: somebody else kept it; the text says who.
            WarehouseBrokenError: the file is damaged, or no database.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.held(purpose, log), self.attach_locked(connection, log):
            yield

    @contextmanager
    def attach_locked(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger
    ) -> Iterator[None]:
        """Attach the database for who holds the writer lock.

        Raises:
            WarehouseBusyError: another program kept it; the text says which.
            WarehouseBrokenError: the file is damaged, or no database.
        """
        with self._translating_corruption():
            self._attach(connection, log)
            with _detached_afterwards(connection, log):
                migrate(connection)
                self._detect_lost_commits(connection, log)
                yield
                self._cache_id(connection, log)
                checkpoint_if_due(connection, "warehouse", self.path, log)

    @contextmanager
    def session(self, purpose: str, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own with the database attached as `warehouse`.

        Raises:
            WarehouseBusyError: somebody else kept it; the text says who.
        """
        with self.connect() as connection:
            checkpoint_seldom(connection)
            with self.attached(connection, purpose, log):
                yield connection

    @contextmanager
    def blocking_writers(self, log: logging.Logger) -> Iterator[None]:
        """For the block, whoever wants to write the file is refused by DuckDB.

        Raises:
            WarehouseBusyError: another program is writing it; the text says which.
            WarehouseBrokenError: the file is damaged, or no database.
        """
        with self.connect() as connection:
            with self._translating_corruption():
                self._attach(connection, log, to_read=True)
            yield

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own, with nothing attached yet."""
        connection = duckdb.connect(config=dict(self.config))
        connection.execute("SET enable_progress_bar = false")  # It would be drawn into logs, too.
        return connection

    @property
    def lock(self) -> WriterLock:
        """What the runs of this program take turns by."""
        return WriterLock(self.path, self.writer_wait_seconds)

    @property
    def without_waiting(self) -> "Warehouse":
        """The same, for those who do not wait for it."""
        return replace(self, writer_wait_seconds=0, other_process_wait_seconds=0)

    @property
    def size_bytes(self) -> int:
        """Of the database file; 0 where there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_corrupt(self) -> bool:
        """Whether the file is no database at the first look, for those who do not open it."""
        if self.lock.holder or not self.path.exists():  # A new one is empty at first.
            return False
        if not self.path.is_file():
            return True
        with self.path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) != _MAGIC

    def cached_id(self) -> str | None:
        """The id of the database, without opening it; None where there is none."""
        return read_id(self._id_path)[0] if self.path.exists() else None

    def _detect_lost_commits(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger
    ) -> None:
        """See that the database knows all that it was known to have committed.

        DuckDB takes a damaged or missing write-ahead log for the end of what was written, and an
        older copy of the database looks whole. Then it is another database from now on: no note
        counts, and what was lost is taken in anew.
        """
        known_id, known_times = read_id(self._id_path)
        if known_id == database_id(connection) and write_count(connection) < known_times:
            loss = (
                "%s has lost what was committed last: its ledger was written %d times, and had "
                "been %d times. Its .wal was damaged or removed, or an older copy was put back. "
                "ingest_inbox takes in anew what is missing, from the raw zone."
            )
            log.warning(loss, self.path, write_count(connection), known_times)
            renew_database_id(connection)
        self._cache_id(connection, log)

    def forget_id(self) -> None:
        """Have the id be told anew by whoever opens the database next."""
        forget_id(self._id_path)

    @property
    def _id_path(self) -> Path:
        return self.path.with_name(self.path.name + ".id")

    def _cache_id(self, connection: duckdb.DuckDBPyConnection, log: logging.Logger) -> None:
        """What is committed counts, whether this can be written or not."""
        if self.is_shadow:
            return
        try:
            write_id(self._id_path, database_id(connection), write_count(connection))
        except (OSError, duckdb.Error) as error:  # After a failed checkpoint, DuckDB answers none.
            log.warning("%s could not be written: %s", self._id_path, user_message(error))

    @contextmanager
    def _translating_corruption(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            if not self._is_damage(error):
                raise
            first_line = str(error).partition("\n")[0].rstrip(".!")
            msg = (
                f"{self.path} is damaged, or is no database: {first_line}. Run rebuild_products, "
                "which makes it anew from the raw zone."
            )
            raise WarehouseCorruptError(msg) from error

    def _is_damage(self, error: duckdb.Error) -> bool:
        """Whether the database file is at fault, and not a full disk, or another file."""
        text = str(error)
        if hint_for(error) or _CORRUPT in text:
            return not hint_for(error)
        return self.path.name in text and any(sign in text for sign in _UNREADABLE)

    def _attach(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger, *, to_read: bool = False
    ) -> None:
        started = time.monotonic()
        user_message = False
        while True:
            try:
                attach(connection, self.path, "warehouse", to_read=to_read)
            except duckdb.Error as error:
                if _FOREIGN_LOG in str(error):
                    msg = (
                        f"{self.path} and its write-ahead log {self.path.name}.wal do not belong "
                        "together. Put both back from the same copy; or take both away, and all "
                        "deliveries are taken in anew from the raw zone (ingest_inbox)."
                    )
                    raise WarehouseInconsistentError(msg) from error
                holder = _holder(str(error))
                if holder is None:
                    raise
                waited = time.monotonic() - started
                if waited >= self.other_process_wait_seconds:
                    msg = (
                        f"{self.path} is open in another program: {holder}. Gave up after "
                        f"{waited:.0f} s (setting LFP_OTHER_PROCESS_WAIT_SECONDS). Close it there, "
                        "and run this again; to read, open the published copy."
                    )
                    raise WarehouseBusyError(msg) from None
                if not user_message:
                    log.warning("%s is open in %s; waiting for it", self.path.name, holder)
                    user_message = True
                time.sleep(_RETRY_SECONDS)
            else:
                return


@contextmanager
def _detached_afterwards(
    connection: duckdb.DuckDBPyConnection, log: logging.Logger
) -> Iterator[None]:
    """Detach at the end of the block, whose own error counts for more than that of detaching."""
    try:
        yield
    except BaseException:
        try:
            connection.execute("DETACH warehouse")
        except duckdb.Error as error:
            log.warning("The database could not be detached: %s", error)
        raise
    connection.execute("DETACH warehouse")


def _holder(message: str) -> str | None:
    """Who has the file open, from DuckDB's refusal to attach it; None: it is another refusal.

    DuckDB says `Conflicting lock is held in PROGRAM (PID 1) by user U. See ...`.
    """
    if _OPEN_IN_THIS_PROCESS in message:
        return f"this process itself (PID {os.getpid()})"
    if _LOCK_CONFLICT not in message:
        return None
    _, _, user_message = message.partition("held in ")
    return user_message.partition(". ")[0].strip() or "unknown"
