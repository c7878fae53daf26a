"""The same bytes again, newer: their rows only move to the new delivery, and nothing is read.

That is so if an earlier delivery had the same digest and was read in the same way, and if all rows
that won in it still stand. Then its account is that of the new one, with all of them unchanged.
"""

import logging
import time
from dataclasses import replace

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import checkpoint, transaction
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.reading.options import Conditions
from lfp_pipeline.warehouse.ledger import entries, entry_of, record
from lfp_pipeline.warehouse.schema import INCOMING, SWAP_IN, create_products

MAX_MOVED = 5_000_000
"""What is updated in place takes memory until it is committed. More is written anew."""

_TWIN = """
SELECT delivery_id
FROM warehouse.deliveries
WHERE status = 'merged'
    AND sha256 = $sha256
    AND read_with = $read_with
    AND (delivered_at < $delivered_at
        OR (delivered_at = $delivered_at AND delivery_id < $delivery_id))
ORDER BY delivered_at DESC, delivery_id DESC
LIMIT 1
"""

_STANDING = "SELECT count(*) FROM warehouse.products WHERE delivery_id = $delivery_id"

_MOVE = """
UPDATE warehouse.products
SET delivery_id = $delivery_id, delivered_at = $delivered_at
WHERE delivery_id = $twin
"""

_WRITE_ANEW = f"""
INSERT INTO {INCOMING}
SELECT
    {COLUMN_LIST},
    CASE WHEN delivery_id = $twin THEN $delivery_id ELSE delivery_id END,
    CASE WHEN delivery_id = $twin THEN $delivered_at::TIMESTAMP ELSE delivered_at END,
    row_number
FROM warehouse.products
"""

_REPEAT_REJECTS = """
INSERT INTO warehouse.rejected_rows
SELECT $delivery_id, row_number, byte_start, byte_end, reason, detail, raw
FROM warehouse.rejected_rows
WHERE delivery_id = $twin
"""


def reassign_rows(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    read_with: Conditions,
    started: float,
    log: logging.Logger,
) -> LedgerEntry | None:
    """Merge a delivery into the attached warehouse without reading it, if that can be.

    Args:
        connection: with the warehouse attached.
        delivery: what has landed.
        read_with: how it would be read.
        started: when the work on it was, by `time.perf_counter`.
        log: told of the twin.

    Returns:
        Its account, which is in the ledger; None: it is to be read.

    Raises:
        WarehouseInconsistentError: a law would not hold. Nothing was changed.
    """
    known = entry_of(connection, delivery)
    if known is not None:
        return known if known.status is Status.MERGED else None
    this = {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
    sought = this | {"sha256": delivery.sha256, "read_with": read_with.digest}
    found = connection.execute(_TWIN, sought).fetchone()
    if found is None:
        return None
    (twin,) = found
    before = entries(connection, [twin])[twin]
    counts = before.rows.of_file
    winners = counts.read - counts.superseded - counts.rejected
    if _rows_held(connection, twin) != winners:
        return None
    log.info("%s has the same bytes as %s; its rows move", delivery.delivery_id, twin)
    account = replace(
        before,
        delivery_id=delivery.delivery_id,
        merged_at=utc_now(),
        rows=replace(counts, unchanged=winners),
        read_conditions=read_with.text,
        seconds=time.perf_counter() - started,
    )
    with transaction(connection):
        if winners > MAX_MOVED:
            connection.execute(create_products(INCOMING))
            connection.execute(_WRITE_ANEW, this | {"twin": twin})
            connection.execute(SWAP_IN)
        else:
            connection.execute(_MOVE, this | {"twin": twin})
        connection.execute(_REPEAT_REJECTS, {"delivery_id": delivery.delivery_id, "twin": twin})
        record(connection, [(delivery, account)])
        if _rows_held(connection, delivery.delivery_id) != winners:
            msg = f"{delivery.delivery_id}: not as many rows moved as won in {twin}."
            raise WarehouseInconsistentError(msg)
    if winners > MAX_MOVED:
        checkpoint(connection, "warehouse", log)
    return account


def _rows_held(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> int:
    return int(connection.execute(_STANDING, {"delivery_id": delivery_id}).fetchall()[0][0])
