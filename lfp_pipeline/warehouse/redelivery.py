"""Merges a delivery with the same bytes as an earlier one: its rows move, and nothing is read.

This is possible if the earlier delivery was read under the same conditions, and still holds all
rows that have won in it. The new entry has the counts of the earlier one, with all winners
unchanged.
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
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entries, entry_of, record
from lfp_pipeline.warehouse.schema import INCOMING, SWAP_IN, create_products, is_lake

MAX_MOVED = 5_000_000
"""An update in place takes memory until the commit; with more rows, the table is rewritten."""

_DUPLICATE = """
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

_MOVE = """
UPDATE warehouse.products
SET delivery_id = $delivery_id, delivered_at = $delivered_at
WHERE delivery_id = $duplicate
"""

_REWRITE = f"""
INSERT INTO {INCOMING}
SELECT
    {COLUMN_LIST},
    CASE WHEN delivery_id = $duplicate THEN $delivery_id ELSE delivery_id END,
    CASE WHEN delivery_id = $duplicate THEN $delivered_at::TIMESTAMP ELSE delivered_at END,
    row_number
FROM warehouse.products
"""

_COPY_REJECTS = """
INSERT INTO warehouse.rejected_rows
SELECT $delivery_id, row_number, byte_start, byte_end, reason, detail, raw
FROM warehouse.rejected_rows
WHERE delivery_id = $duplicate
"""


def reassign_rows(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    read_with: Conditions,
    started: float,
    log: logging.Logger,
) -> LedgerEntry | None:
    """Merge a delivery into the attached warehouse without reading it, where that is possible.

    The delivery would be read with the conditions `read_with`. Work on it began at `started`, by
    `time.perf_counter`. Return its ledger entry, or None if the delivery has to be read.

    Raises:
        WarehouseInconsistentError: an invariant would break. Nothing was changed.
    """
    known = entry_of(connection, delivery)
    if known is not None:
        return known if known.status is Status.MERGED else None
    duplicate = _duplicate_of(connection, delivery, read_with)
    if duplicate is None:
        return None
    counts = duplicate.rows.of_file
    winners = counts.read - counts.superseded - counts.rejected
    if _rows_held(connection, duplicate.delivery_id) != winners:
        return None
    message = "%s has the same bytes as %s, whose rows move to it"
    log.info(message, delivery.delivery_id, duplicate.delivery_id)
    entry = replace(
        duplicate,
        delivery_id=delivery.delivery_id,
        merged_at=utc_now(),
        rows=replace(counts, unchanged=winners),
        read_conditions=read_with.text,
        seconds=time.perf_counter() - started,
    )
    rewrites = _should_rewrite(connection, winners)
    _write(connection, delivery, entry, duplicate.delivery_id, rewrites=rewrites)
    if rewrites and not is_lake(connection):
        checkpoint(connection, log)
    return entry


def _should_rewrite(connection: duckdb.DuckDBPyConnection, rows: int) -> bool:
    """Return whether to write a new table instead of updating so many rows.

    A lake writes updated rows again, and the places of the old ones, which takes twice as long.
    """
    if is_lake(connection):
        return 2 * rows > product_count(connection)
    return rows > MAX_MOVED


def _duplicate_of(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, read_with: Conditions
) -> LedgerEntry | None:
    """Return the entry of the newest earlier delivery with the same bytes and conditions."""
    sought = {
        "delivery_id": delivery.delivery_id,
        "delivered_at": delivery.delivered_at,
        "sha256": delivery.sha256,
        "read_with": read_with.digest,
    }
    found = connection.execute(_DUPLICATE, sought).fetchone()
    if found is None:
        return None
    (duplicate,) = found
    return entries(connection, [duplicate])[duplicate]


def _write(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    entry: LedgerEntry,
    duplicate: str,
    *,
    rewrites: bool,
) -> None:
    """Move the rows of a duplicate, copy its rejects, and write the entry of the delivery."""
    winners = entry.rows.unchanged
    ids = {"delivery_id": delivery.delivery_id, "duplicate": duplicate}
    moved = ids | {"delivered_at": delivery.delivered_at}
    with transaction(connection):
        if rewrites:
            create_products(connection, INCOMING)
            connection.execute(_REWRITE, moved)
            connection.execute(SWAP_IN)
        else:
            connection.execute(_MOVE, moved)
        connection.execute(_COPY_REJECTS, ids)
        record(connection, [(delivery, entry)])
        if _rows_held(connection, delivery.delivery_id) != winners:
            msg = f"{delivery.delivery_id}: the rows that moved are not the winners of {duplicate}."
            raise WarehouseInconsistentError(msg)


def _rows_held(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> int:
    statement = "SELECT count(*) FROM warehouse.products WHERE delivery_id = $delivery_id"
    return int(connection.execute(statement, {"delivery_id": delivery_id}).fetchall()[0][0])
