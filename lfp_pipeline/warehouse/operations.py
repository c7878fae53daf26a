"""What operators had done to the warehouse as a whole, in the table `operations`.

What is done with one delivery stands in its ledger row.
"""

from datetime import datetime

import duckdb

from lfp_pipeline.landing.sources import utc_now

_RECORD = "INSERT INTO warehouse.operations VALUES ($operation, $started_at, $ended_at, $told)"


def record_operation(
    connection: duckdb.DuckDBPyConnection, operation: str, started_at: datetime, told: str
) -> None:
    """Write that an operation has come to its end, and what it has done, for people."""
    entry = {"operation": operation, "started_at": started_at, "ended_at": utc_now(), "told": told}
    connection.execute(_RECORD, entry)
