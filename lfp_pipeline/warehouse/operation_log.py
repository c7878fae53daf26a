"""What operators had done to the warehouse as a whole, in the table `operations`.

What is done with one delivery stands in its ledger row.
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
    """Write that an operation has come to its end, and what it has done, for people."""
    ended_at = utc_now()
    entry = {"operation": operation, "started_at": started_at, "ended_at": ended_at}
    connection.execute(_RECORD, entry | {"summary": summary})


def note_operation(
    warehouse: Backend, operation: str, started_at: datetime, summary: str, log: logging.Logger
) -> None:
    """Write the same of what is done already: where that cannot be, it is done all the same."""
    try:
        with warehouse.session(f"noting {operation}", log) as connection:
            record_operation(connection, operation, started_at, summary)
    except (LfpError, duckdb.Error, OSError) as error:
        log.warning(
            "%s is done, and could not be noted in the table operations: %s",
            operation,
            user_message(error),
        )
