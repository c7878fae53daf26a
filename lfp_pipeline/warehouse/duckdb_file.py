"""A warehouse in a DuckDB file, which its single writer attaches only while it works on it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self

import duckdb

from lfp_pipeline.common.duckdb_tools import (
    attach,
    attached_read_only,
    checkpoint_if_due,
    defer_checkpoints,
    write_ahead_logs,
)
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.errors import OperationRefusedError, hint_for, user_message
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.database_files import (
    copy_database,
    read_id,
    remove_id,
    replace_database,
    write_id,
)
from lfp_pipeline.warehouse.file_lock import FileWriterLock
from lfp_pipeline.warehouse.ledger import write_count
from lfp_pipeline.warehouse.opening import attach_when_free, naming_corruption
from lfp_pipeline.warehouse.readers import State
from lfp_pipeline.warehouse.schema import (
    database_id,
    migrate,
    renew_database_id,
    require_present_schema,
)

_SHADOW_FOLDER = ".rebuild"

_MAGIC = b"DUCK"
_MAGIC_AT = 8
"""The position of the magic bytes in a DuckDB file, after the checksum of its header."""


@dataclass(frozen=True)
class Warehouse(Backend):
    """The database file and how long to wait for it. `Backend` documents most methods.

    Attributes:
        path: the database file.
        writer_wait_seconds: the longest wait for another run of this program.
        other_process_wait_seconds: the longest wait for another program that has the file open.
        config: DuckDB's settings for new connections: threads, memory, spill.
        is_shadow: whether a rebuild is still building it. Then its id is not cached, and no status
            note is written.
        is_read_only: whether sessions only read, and refuse a database that is missing or that an
            earlier version made.
    """

    path: Path
    writer_wait_seconds: float
    other_process_wait_seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    is_shadow: bool = False
    is_read_only: bool = False

    @classmethod
    def of(cls, settings: Settings, *, read_only: bool = False) -> Self:
        """Return the warehouse of a data folder."""
        return cls(
            settings.database_path,
            settings.writer_wait_seconds,
            settings.other_process_wait_seconds,
            settings.duckdb_config,
            is_read_only=read_only,
        )

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @property
    def is_corrupt(self) -> bool:
        """Whether the file lacks the magic bytes of a DuckDB file."""
        if self.lock.holder or not self.exists:  # A new file is empty at first.
            return False
        if not self.path.is_file():
            return True
        with self.path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) != _MAGIC

    @property
    def size_bytes(self) -> int:
        """Size of the file and its log."""
        size = 0
        for path in (self.path, *write_ahead_logs(self.path)):
            with suppress(FileNotFoundError):  # There is none, or a checkpoint has removed the log.
                size += path.stat().st_size
        return size

    @property
    def state(self) -> State:
        """A value that changes with the bytes of the file and its log."""
        states = []
        for path in (self.path, *write_ahead_logs(self.path)):
            with suppress(FileNotFoundError):  # A checkpoint has just removed the log.
                status = path.stat()
                states.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(states)

    @property
    def keeps_row_order(self) -> bool:
        return True

    @property
    def folders(self) -> Sequence[str]:
        return (str(self.path.resolve().parent),)

    @property
    def lock(self) -> FileWriterLock:
        return FileWriterLock(self.path, self.writer_wait_seconds)

    def means_damage(self, error: duckdb.Error) -> bool:
        return not hint_for(error)  # With a hint, the disk or the memory is at fault.

    def cached_id(self) -> str | None:
        return read_id(self._id_path)[0] if self.exists else None

    def waiting(self, seconds: float) -> Self:
        return replace(self, writer_wait_seconds=seconds, other_process_wait_seconds=seconds)

    def connect(self, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config=dict(self.config if config is None else config))
        connection.execute("SET enable_progress_bar = false")  # It would be drawn into logs, too.
        return connection

    @contextmanager
    def attached(
        self, connection: duckdb.DuckDBPyConnection, purpose: str, log: logging.Logger
    ) -> Iterator[None]:
        with ExitStack() as stack:
            if not self.is_read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(self.lock.held(purpose, log))
            elif self.exists:
                with suppress(OSError):  # Without write permission, DuckDB's own lock has to do.
                    stack.enter_context(self.lock.held(purpose, log))
            stack.enter_context(self._attached(connection, log))
            yield

    @contextmanager
    def session(self, purpose: str, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.connect() as connection:
            defer_checkpoints(connection)
            with self.attached(connection, purpose, log):
                yield connection

    @contextmanager
    def locked_session(self, log: logging.Logger) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.connect() as connection, self._attached(connection, log):
            yield connection

    @contextmanager
    def read_session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.connect() as connection:
            attach(connection, self.path, "warehouse", to_read=True)
            self.use_tables(connection)
            yield connection

    def use_tables(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("USE warehouse")

    def maintain(self, retention: timedelta, log: logging.Logger, *, dry_run: bool) -> None:
        """Move the write-ahead log into the file."""
        del retention
        if not dry_run:
            with self.session("maintaining", log) as connection:
                self.flush(connection)

    def flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("CHECKPOINT warehouse")

    def attached_read_only(
        self, connection: duckdb.DuckDBPyConnection, name: str
    ) -> AbstractContextManager[None]:
        return attached_read_only(connection, self.path, name)

    @contextmanager
    def blocking_writers(self, log: logging.Logger) -> Iterator[None]:
        """Hold DuckDB's read lock on the file for the block, so that no program can write it."""
        with self.connect() as connection:
            with naming_corruption(self.path):
                wait = self.other_process_wait_seconds
                attach_when_free(connection, self.path, wait, log, to_read=True)
            yield

    def copy_to(self, file: BinaryIO, path: Path) -> None:
        """Copy the database into an open DuckDB file at that path, and its log beside that."""
        copy_database(self.path, file, path)

    @contextmanager
    def shadow(self) -> Iterator[Self]:
        """Yield an empty warehouse in a folder beside the file; it is removed after the block."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self.path.parent, _SHADOW_FOLDER) as folder:
            yield replace(self, path=folder / self.path.name, is_shadow=True)

    def swap_in(self, shadow: Self) -> None:
        """Rename the file of a shadow to this file; neither may have a log."""
        remove_id(self._id_path)
        replace_database(self.path, shadow.path)

    def move_aside(self, name: str, log: logging.Logger) -> None:
        old, new = self.path.name, f"{self.path.name}.{name}"
        for path in (*write_ahead_logs(self.path), self.path):
            if path.exists():
                aside = path.with_name(path.name.replace(old, new))
                log.warning("%s is kept as %s", path.name, aside.name)
                path.rename(aside)

    @contextmanager
    def _attached(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger
    ) -> Iterator[None]:
        with naming_corruption(self.path):
            if self.is_read_only:
                with self._attached_to_plan(connection, log):
                    yield
                return
            attach_when_free(connection, self.path, self.other_process_wait_seconds, log)
            with _detached_afterwards(connection, log):
                migrate(connection)
                self._detect_lost_commits(connection, log)
                yield
                self._cache_id(connection, log)
                checkpoint_if_due(connection, self.path, log)

    @contextmanager
    def _attached_to_plan(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger
    ) -> Iterator[None]:
        if not self.exists:
            msg = f"There is no database at {self.path}. Run `lfp ingest` first."
            raise OperationRefusedError(msg)
        with (
            self.blocking_writers(log),
            attached_read_only(connection, self.path, "warehouse"),
        ):
            require_present_schema(connection)
            yield

    def _detect_lost_commits(
        self, connection: duckdb.DuckDBPyConnection, log: logging.Logger
    ) -> None:
        """Give the database another id if it has lost commits.

        DuckDB takes a damaged or missing write-ahead log for the end of the data, and an older copy
        of the database looks whole. With another id, no status note counts, and the next run merges
        again what was lost.
        """
        known_id, known_count = read_id(self._id_path)
        if known_id == database_id(connection) and write_count(connection) < known_count:
            loss = (
                "%s has lost what was committed last: its ledger was written %d times, and had "
                "been %d times. Its .wal was damaged or removed, or an older copy was put back. "
                "Run `lfp ingest`, which merges what is missing from the raw zone."
            )
            log.warning(loss, self.path, write_count(connection), known_count)
            renew_database_id(connection)
        self._cache_id(connection, log)

    def _cache_id(self, connection: duckdb.DuckDBPyConnection, log: logging.Logger) -> None:
        """Cache the id beside the file. Failing to do so does not affect the commit."""
        if self.is_shadow:
            return
        try:
            write_id(self._id_path, database_id(connection), write_count(connection))
        except (OSError, duckdb.Error) as error:  # As after a failed checkpoint.
            log.warning("%s could not be written: %s", self._id_path, user_message(error))

    @property
    def _id_path(self) -> Path:
        return self.path.with_name(self.path.name + ".id")


@contextmanager
def _detached_afterwards(
    connection: duckdb.DuckDBPyConnection, log: logging.Logger
) -> Iterator[None]:
    """Detach at the end of the block; an error of the block is raised, not that of detaching."""
    try:
        yield
    except BaseException:
        try:
            connection.execute("DETACH warehouse")
        except duckdb.Error as error:
            log.warning("The database could not be detached: %s", error)
        raise
    connection.execute("DETACH warehouse")
