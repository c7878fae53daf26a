"""The readers of a lake: each session reads the newest snapshot, so nothing is published."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import duckdb

from lfp_pipeline.errors import LfpError, user_message
from lfp_pipeline.warehouse.lake import Lake
from lfp_pipeline.warehouse.ledger import record_operation
from lfp_pipeline.warehouse.readers import Published, PublishRecord


@dataclass(frozen=True)
class Snapshots(Published):
    """The snapshots of a lake. `Published` documents the methods."""

    lake: Lake
    time_share: float = 1.0

    @property
    def location(self) -> str:
        return f"the newest snapshot of {self.lake.location}"

    @property
    def source(self) -> str:
        return "the newest snapshot"

    @property
    def is_apart(self) -> bool:
        return False

    @property
    def last(self) -> PublishRecord:
        return PublishRecord(copied_at=time.time())

    @property
    def is_stale(self) -> bool:
        return False

    @property
    def exists(self) -> bool:
        return self.lake.exists

    @property
    def size_bytes(self) -> int:
        return 0

    def waiting(self, seconds: float) -> Self:
        return replace(self, lake=self.lake.waiting(seconds))

    def is_within_budget(self, extra_seconds: float = 0.0) -> bool:
        del extra_seconds
        return False

    def publish(self, log: logging.Logger) -> PublishRecord | None:
        del log
        return None

    def missing_deliveries(self, log: logging.Logger) -> int:
        del log
        return 0  # Readers have no earlier copy.

    def note_operation(
        self, operation: str, started_at: datetime, summary: str, log: logging.Logger
    ) -> None:
        try:
            with self.lake.session(f"recording {operation}", log) as connection:
                record_operation(connection, operation, started_at, summary)
        except (LfpError, duckdb.Error) as error:
            message = "%s is done, but the table operations does not record it: %s"
            log.warning(message, operation, user_message(error))

    def session(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return self.lake.read_session()

    @contextmanager
    def attached(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with replace(self.lake, is_read_only=True).attached(
            connection, "reading", logging.getLogger(__name__)
        ):
            yield
