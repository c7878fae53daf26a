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
from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.reading.options import Conditions
from lfp_pipeline.warehouse.invariants import products_held
from lfp_pipeline.warehouse.ledger import entries, entry_of, exchange_numbers, record

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
    if products_held(connection, duplicate.delivery_id) != winners:
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
    _write(connection, delivery, entry, duplicate.delivery_id)
    return entry


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
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, entry: LedgerEntry, duplicate: str
) -> None:
    """Move the rows of a duplicate, copy its rejects, and write the entry of the delivery."""
    winners = entry.rows.unchanged
    with transaction(connection):
        record(connection, [(delivery, entry)])
        exchange_numbers(connection, duplicate, delivery.delivery_id)
        ids = {"delivery_id": delivery.delivery_id, "duplicate": duplicate}
        connection.execute(_COPY_REJECTS, ids)
        if products_held(connection, delivery.delivery_id) != winners:
            msg = f"{delivery.delivery_id}: the rows that moved are not the winners of {duplicate}."
            raise WarehouseInconsistentError(msg)
