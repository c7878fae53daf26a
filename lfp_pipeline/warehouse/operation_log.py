"""The table `operations`: what operators have done to the warehouse as a whole.

An operation on a single delivery stands in the ledger entry of that delivery.
"""

import logging
from datetime import datetime

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.errors import LfpError, user_message
from lfp_pipeline.warehouse.backend import Backend

_RECORD = "INSERT INTO warehouse.operations VALUES ($operation, $started_at, $ended_at, $summary)"


def record_operation(
    connection: duckdb.DuckDBPyConnection, operation: str, started_at: datetime, summary: str
) -> None:
    """Write that an operation has ended, and what it has done."""
    row = {"operation": operation, "started_at": started_at, "ended_at": utc_now()}
    connection.execute(_RECORD, row | {"summary": summary})


def note_operation(
    warehouse: Backend, operation: str, started_at: datetime, summary: str, log: logging.Logger
) -> None:
    """Record an operation that is done; log a warning where that is not possible."""
    try:
        with warehouse.session(f"recording {operation}", log) as connection:
            record_operation(connection, operation, started_at, summary)
    except (LfpError, duckdb.Error, OSError) as error:
        log.warning(
            "%s is done, but the table operations does not record it: %s",
            operation,
            user_message(error),
        )
