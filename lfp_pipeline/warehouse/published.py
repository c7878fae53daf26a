"""The published copy of the tables: open to readers at any time, and in no writer's way.

    published/products.duckdb         a whole database in one file, without a log
    published/products.duckdb.json    what it is a copy of, and what making it took

DuckDB lets either one process write a file or several read it. So readers have a file of their own,
which is replaced by a rename: who has the old one open keeps it, as it is, until it is closed.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import duckdb

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.common.duckdb_tools import attached_to_read, logs_of
from lfp_pipeline.common.text import pluralize
from lfp_pipeline.errors import RebuildIncompleteError
from lfp_pipeline.raw_zone.pending import pending_deliveries
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.ledger import statuses
from lfp_pipeline.warehouse.schema import database_id
from lfp_pipeline.warehouse.writer_lock import WriterLock

_REST_SECONDS = 30.0
_LONGEST_REST_SECONDS = 600.0

_BEHIND = (
    "The database was made anew, and {} that had landed before are not in yet: readers keep the "
    "copy from before. Run ingest_inbox, which takes them in."
)

_PURPOSE = "publishing the tables"

FileState = tuple[str, int, int, int]
"""Of a file: its name, and what changes with its bytes (inode, size, modification time)."""


@dataclass(frozen=True)
class PublishRecord:
    """What is remembered of publishing.

    Attributes:
        copied: the files of the database, as they were when they were copied.
        copied_at: when that was, in seconds since the epoch.
        database_id: of the database then; none: an older version has not told it.
        seconds: how long it took, waiting for others not included.
        ended_at: when the last attempt ended, or began, if it came to no end.
        failures: how many attempts have failed since.
    """

    copied: Sequence[FileState] = ()
    copied_at: float = 0.0
    database_id: str | None = None
    seconds: float = 0.0
    ended_at: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class PublishedCopy:
    """The published copy of a warehouse.

    Attributes:
        path: of the copy.
        warehouse: what it is a copy of, and how long to wait for it.
        raw_zone: of which the warehouse is to hold all.
        time_share: at most about this share of the time may go into publishing; 0: none.
    """

    path: Path
    warehouse: Warehouse
    raw_zone: RawZone
    time_share: float

    @property
    def last(self) -> PublishRecord:
        """What is remembered of the last publication."""
        try:
            told = json.loads(self._note_path.read_bytes())
            return PublishRecord(**told | {"copied": tuple(map(tuple, told["copied"]))})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return PublishRecord()  # There is none, or one is damaged: it is published anew.

    @property
    def is_stale(self) -> bool:
        """Whether the warehouse has changed since, as far as its files tell."""
        if not self.warehouse.path.exists():
            return False
        return not self.path.exists() or self.last.copied != _states(self.warehouse.path)

    def is_within_budget(self, extra_seconds: float = 0.0) -> bool:
        """Whether publishing now keeps to the share.

        Args:
            extra_seconds: what it costs beside what the last publication took.
        """
        if not self.time_share:
            return False
        last = self.last
        rest = min(last.failures * _REST_SECONDS, _LONGEST_REST_SECONDS)
        pause = max(rest, (last.seconds + extra_seconds) * (1 / self.time_share - 1))
        return not 0 <= time.time() - last.ended_at < pause  # The clock may have stepped back.

    def publish(self, log: logging.Logger) -> PublishRecord | None:
        """Publish the tables as they are now; None: they are published already.

        Where it fails, the copy from before stays.

        Raises:
            WarehouseBusyError: somebody else kept the database; the text says who.
            WarehouseBehindError: the database was made anew, and is not what it was yet.
            OSError: the copy could not be written.
            duckdb.Error: the database could not be read.
        """
        publishing = WriterLock(self.path, self.warehouse.writer_wait_seconds)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with publishing.held(_PURPOSE, log):
            self._clear_up(log)
            if not self.is_stale:
                return None
            done = self._publish(log)
        size = self.path.stat().st_size / 1e6
        log.info("Published the tables: %.1f MB in %.2f s", size, done.seconds)
        return done

    def missing_deliveries(self, log: logging.Logger) -> int:
        """How many deliveries a database lacks that was made anew since; for who holds its lock.

        What was lost with an older database is all taken in anew, and until then the copy is better
        than what it is a copy of. What has failed in the new one counts as tried.
        """
        copied_id = self.last.database_id
        if copied_id in {None, self.warehouse.cached_id()}:
            return 0
        with (
            self.warehouse.connect() as connection,
            self.warehouse.attach_locked(connection, log),
        ):
            id_ = database_id(connection)
            known = statuses(connection)
        pending = pending_deliveries(self.raw_zone.index, id_, log) if id_ != copied_id else []
        return sum(one.delivery_id not in known for one in pending)

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the copy attached as `warehouse`; it stays as it is for the block.

        Raises:
            duckdb.Error: there is none, or it cannot be read.
        """
        with (
            self.warehouse.connect() as connection,
            attached_to_read(connection, self.path, "warehouse"),
        ):
            yield connection

    def _publish(self, log: logging.Logger) -> PublishRecord:
        with temporary_sibling(self.path) as (file, temporary):
            try:
                with self.warehouse.lock.held(_PURPOSE, log):
                    started = time.perf_counter()
                    failed = replace(
                        self.last, ended_at=time.time(), failures=self.last.failures + 1
                    )
                    self._remember(failed)  # Before it is tried: it may be killed.
                    if missing_deliveries := self.missing_deliveries(log):
                        raise RebuildIncompleteError(
                            _BEHIND.format(pluralize(missing_deliveries, "delivery"))
                        )
                    with self.warehouse.blocking_writers(log):
                        copied, copied_at = _states(self.warehouse.path), time.time()
                        id_ = self.warehouse.cached_id()
                        _copy_database(self.warehouse.path, file, temporary)
                if any(logs_of(temporary)):
                    with duckdb.connect(temporary, config=dict(self.warehouse.config)) as copy:
                        copy.execute("CHECKPOINT")
                temporary.chmod(0o444)
                for log_of_a_stranger in logs_of(self.path):  # Who has opened the copy to write.
                    log_of_a_stranger.unlink()
                commit_file(file, temporary, self.path)
            finally:
                _remove_logs(temporary)
        seconds = time.perf_counter() - started
        done = PublishRecord(copied, copied_at, id_, seconds, ended_at=time.time())
        self._remember(done)
        return done

    def _clear_up(self, log: logging.Logger) -> None:
        for leftover in stale_temporaries(self.path.parent):
            log.info("Removing %s, left by a publication that was killed", leftover)
            _remove_logs(leftover)

    def _remember(self, publication: PublishRecord) -> None:
        with temporary_sibling(self._note_path) as (file, temporary):
            file.write(json.dumps(asdict(publication)).encode() + b"\n")
            commit_file(file, temporary, self._note_path)

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _remove_logs(database: Path) -> None:
    for path in logs_of(database):
        path.unlink(missing_ok=True)


def _states(database: Path) -> Sequence[FileState]:
    states = []
    for path in (database, *logs_of(database)):
        with suppress(FileNotFoundError):  # A checkpoint has just taken the log away.
            status = path.stat()
            states.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(states)


def _copy_database(database: Path, file: BinaryIO, copy: Path) -> None:
    with database.open("rb") as source:
        _copy(source, file)
        for path in logs_of(database):
            suffix = path.name.removeprefix(database.name)
            with path.open("rb") as log, copy.with_name(copy.name + suffix).open("wb") as target:
                _copy(log, target)
        # Only now: closing any handle of the file frees the lock that DuckDB has on it.


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file; where the file system can, they share what is on disk."""
    size = os.fstat(source.fileno()).st_size
    with suppress(AttributeError, OSError):  # Not every system and file system can.
        while os.copy_file_range(source.fileno(), target.fileno(), size):
            pass
    shutil.copyfileobj(source, target)  # What is left: mostly nothing, else all of it.
    target.flush()
