"""The published copy of the tables, which readers may open at any time without blocking writers.

    published/products.duckdb         a whole database in one file, without a log
    published/products.duckdb.json    the publish record: the copied state, the time, the duration

DuckDB lets either one process write a file or several read it. So readers have a file of their own,
which a rename replaces: a reader that has the old file open keeps reading it unchanged.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import duckdb

from lfp_pipeline.common.atomic_files import (
    commit_file,
    stale_temporaries,
    temporary_sibling,
    write_file,
)
from lfp_pipeline.common.backoff import Backoff, is_backing_off
from lfp_pipeline.common.duckdb_tools import (
    attach,
    attached_read_only,
    defer_checkpoints,
    write_ahead_logs,
)
from lfp_pipeline.common.text import pluralize
from lfp_pipeline.errors import LfpError, RebuildIncompleteError, user_message
from lfp_pipeline.raw_zone.pending import pending_deliveries
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.file_lock import FileWriterLock
from lfp_pipeline.warehouse.ledger import record_operation, statuses
from lfp_pipeline.warehouse.readers import Published, PublishRecord
from lfp_pipeline.warehouse.schema import database_id

_BACKOFF = Backoff(base=30.0, limit=600.0)

_BEHIND = (
    "The database was rebuilt, and {} that had landed before are not merged yet: readers keep the "
    "former copy. Run `lfp ingest`, which merges them."
)

_PURPOSE = "publishing the tables"


@dataclass(frozen=True)
class PublishedCopy(Published):
    """The published copy of a database in a file. `Published` documents most methods.

    Attributes:
        raw_zone: the deliveries that the warehouse has to hold.
        time_share: the largest share of the time to spend publishing, from 0 to 1; 0 disables it.
    """

    path: Path
    warehouse: Warehouse
    raw_zone: RawZone
    time_share: float

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def source(self) -> str:
        return "the published copy"

    @property
    def is_apart(self) -> bool:
        return True

    def waiting(self, seconds: float) -> Self:
        return replace(self, warehouse=self.warehouse.waiting(seconds))

    @property
    def last(self) -> PublishRecord:
        """The publish record; an empty one if it is missing or damaged."""
        try:
            record = json.loads(self._record_path.read_bytes())
            return PublishRecord(**record | {"copied": tuple(map(tuple, record["copied"]))})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return PublishRecord()

    @property
    def is_stale(self) -> bool:
        if not self.warehouse.exists:
            return False
        return not self.exists or self.last.copied != self.warehouse.state

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.exists else 0

    def is_within_budget(self, extra_seconds: float = 0.0) -> bool:
        if not self.time_share:
            return False
        last = self.last
        pause = (last.seconds + extra_seconds) * (1 / self.time_share - 1)
        return not is_backing_off(last.ended_at, max(_BACKOFF.delay(last.failures), pause))

    def publish(self, log: logging.Logger) -> PublishRecord | None:
        publishing = FileWriterLock(self.path, self.warehouse.lock.wait_seconds)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with publishing.held(_PURPOSE, log):
            for leftover in stale_temporaries(self.path.parent):
                log.info("Removing %s, left by a publication that was killed", leftover)
                _remove_logs(leftover)
            if not self.is_stale:
                return None
            done = self._publish(log)
        log.info("Published the tables: %.1f MB in %.2f s", self.size_bytes / 1e6, done.seconds)
        return done

    def missing_deliveries(self, log: logging.Logger) -> int:
        copied_id = self.last.database_id
        if copied_id in {None, self.warehouse.cached_id()}:
            return 0
        with self.warehouse.locked_session(log) as connection:
            id_ = database_id(connection)
            known = statuses(connection)
        pending = pending_deliveries(self.raw_zone, id_, log) if id_ != copied_id else []
        return sum(delivery.delivery_id not in known for delivery in pending)

    def note_operation(
        self, operation: str, started_at: datetime, summary: str, log: logging.Logger
    ) -> None:
        """Record an operation that is done; log a warning where that is not possible.

        A current copy stays current: it lacks only this record, until other tables change.
        """
        try:
            with self.warehouse.lock.held(f"recording {operation}", log):
                with self.warehouse.locked_session(log) as connection:
                    defer_checkpoints(connection)
                    is_current = not self.is_stale
                    record_operation(connection, operation, started_at, summary)
                if is_current:
                    self._save(replace(self.last, copied=self.warehouse.state))
        except (LfpError, duckdb.Error, OSError) as error:
            message = "%s is done, but the table operations does not record it: %s"
            log.warning(message, operation, user_message(error))

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.warehouse.connect() as connection:
            attach(connection, self.path, "warehouse", to_read=True)
            connection.execute("USE warehouse")
            yield connection

    def attached(self, connection: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        return attached_read_only(connection, self.path, "warehouse")

    def _publish(self, log: logging.Logger) -> PublishRecord:
        with temporary_sibling(self.path) as (file, temporary):
            try:
                with self.warehouse.lock.held(_PURPOSE, log):
                    started = time.perf_counter()
                    last, now = self.last, time.time()
                    # Saved before the attempt, because the process may be killed.
                    self._save(replace(last, ended_at=now, failures=last.failures + 1))
                    if missing := self.missing_deliveries(log):
                        raise RebuildIncompleteError(_BEHIND.format(pluralize(missing, "delivery")))
                    with self.warehouse.blocking_writers(log):
                        copied, copied_at = self.warehouse.state, time.time()
                        id_ = self.warehouse.cached_id()
                        self.warehouse.copy_to(file, temporary)
                if any(write_ahead_logs(temporary)):
                    with self.warehouse.connect() as connection:
                        attach(connection, temporary, "copy")
                        connection.execute("CHECKPOINT copy")
                temporary.chmod(0o444)
                _remove_logs(self.path)  # Of another program that opened the copy to write.
                commit_file(file, temporary, self.path)
            finally:
                _remove_logs(temporary)
        seconds = time.perf_counter() - started
        done = PublishRecord(copied, copied_at, id_, seconds, ended_at=time.time())
        self._save(done)
        return done

    def _save(self, record: PublishRecord) -> None:
        write_file(self._record_path, json.dumps(asdict(record)).encode() + b"\n")

    @property
    def _record_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _remove_logs(database: Path) -> None:
    for path in write_ahead_logs(database):
        path.unlink(missing_ok=True)
