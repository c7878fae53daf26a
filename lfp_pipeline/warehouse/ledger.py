"""The ledger: one row per delivery, in the table `deliveries`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import duckdb

from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import (
    ROW_COLUMNS,
    STATUSES,
    LedgerEntry,
    RowCounts,
    Status,
)

_FORGET = """
DELETE FROM warehouse.deliveries
WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
"""

_RECORD = """
INSERT INTO warehouse.deliveries BY NAME
SELECT unnest(entry) FROM (SELECT unnest($entries) AS entry)
"""

_ATTEMPTS = """
SELECT delivery_id, attempts FROM warehouse.deliveries
WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
"""

_RECORDED = "SELECT coalesce(sum(attempts), 0) FROM warehouse.deliveries"

_COLUMNS = f"""
SELECT {", ".join(ROW_COLUMNS)}, delivery_id, status, merged_at, error, read_with, seconds,
    blank_lines, repeated_headers, lines_above_header, notes, read_conditions
FROM warehouse.deliveries
"""

# Of a delivery that holds no product and no deletion.
_GIVE_UP = f"""
UPDATE warehouse.deliveries
SET
    status = 'failed', error = $told, attempts = attempts + 1, merged_at = NULL,
    {", ".join(f"{column} = 0" for column in ROW_COLUMNS)},
    blank_lines = 0, repeated_headers = 0, lines_above_header = 0, notes = NULL,
    read_with = NULL, read_conditions = NULL
WHERE delivery_id = $delivery_id
    AND delivery_id NOT IN (SELECT delivery_id FROM warehouse.products)
    AND delivery_id NOT IN (SELECT delivery_id FROM warehouse.deletions)
"""

_FORGET_CONDITIONS = """
UPDATE warehouse.deliveries SET read_with = NULL, read_conditions = NULL
WHERE delivery_id = $delivery_id AND status <> 'merged'
"""

_FORGET_REJECTS = """
DELETE FROM warehouse.rejected_rows
WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
"""

_OF_DELIVERIES = "WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))"

_STATUSES = "SELECT delivery_id, status FROM warehouse.deliveries"

_OF_PARTITIONS = "WHERE partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))"


def record(
    connection: duckdb.DuckDBPyConnection, recorded: Sequence[tuple[Delivery, LedgerEntry]]
) -> None:
    """Write the rows of some deliveries, in the place of earlier ones."""
    ids = [delivery.delivery_id for delivery, _ in recorded]
    attempts = dict(connection.execute(_ATTEMPTS, {"delivery_ids": ids}).fetchall())
    connection.execute(_FORGET, {"delivery_ids": ids})
    told = [
        _entry(*entry, attempts.get(id_, 0) + 1) for entry, id_ in zip(recorded, ids, strict=True)
    ]
    connection.execute(_RECORD, {"entries": told})


def delete_entries(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the rows of some deliveries, as if they had never been tried."""
    connection.execute(_FORGET, {"delivery_ids": delivery_ids})
    delete_rejects(connection, delivery_ids)


def delete_rejects(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the rejected rows of some deliveries."""
    connection.execute(_FORGET_REJECTS, {"delivery_ids": delivery_ids})


def clear_conditions(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> None:
    """Have a delivery that is not merged be read with the settings of whoever merges it."""
    connection.execute(_FORGET_CONDITIONS, {"delivery_id": delivery_id})


def mark_unmerged(connection: duckdb.DuckDBPyConnection, delivery_id: str, told: str) -> None:
    """Let a delivery that holds nothing count as merged no longer: landed again, it is merged anew.

    Args:
        connection: with the warehouse attached.
        delivery_id: whose.
        told: why.
    """
    delete_rejects(connection, [delivery_id])
    connection.execute(_GIVE_UP, {"delivery_id": delivery_id, "told": told})


def _entry(delivery: Delivery, account: LedgerEntry, attempts: int) -> dict[str, Any]:
    entry = asdict(account)
    rows = {f"rows_{fate}": number for fate, number in entry.pop("rows").items()}
    return {
        **entry,
        **rows,
        "status": account.status.value,
        "kind": delivery.kind.value,
        "attempts": attempts,
        "partition_key": delivery.partition_key,
        "source": delivery.source,
        "sha256": delivery.sha256,
        "size_bytes": delivery.size_bytes,
        "delivered_at": delivery.delivered_at,
    }


def entries(
    connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]
) -> dict[str, LedgerEntry]:
    """The accounts of some deliveries, by delivery id, as far as the ledger knows them."""
    ids = {"delivery_ids": delivery_ids}
    return _accounts(connection.execute(_COLUMNS + _OF_DELIVERIES, ids))


def entry_of(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> LedgerEntry | None:
    """The account of a delivery; None: the ledger does not know it."""
    return entries(connection, [delivery.delivery_id]).get(delivery.delivery_id)


def all_entries(connection: duckdb.DuckDBPyConnection) -> dict[str, LedgerEntry]:
    """The accounts of all deliveries, by delivery id."""
    return _accounts(connection.execute(_COLUMNS))


def statuses(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None = None
) -> dict[str, Status]:
    """The status of all deliveries, or of those of some partitions, by delivery id."""
    if partition_keys is None:
        found = connection.execute(_STATUSES)
    else:
        keys = {"partition_keys": partition_keys}
        found = connection.execute(f"{_STATUSES} {_OF_PARTITIONS}", keys)
    return {delivery_id: STATUSES[status] for delivery_id, status in found.fetchall()}


def _accounts(found: duckdb.DuckDBPyConnection) -> dict[str, LedgerEntry]:
    entries = {}
    for row in found.fetchall():
        rows = RowCounts(*row[: len(ROW_COLUMNS)])
        delivery_id, status, merged_at, *others = row[len(ROW_COLUMNS) :]
        entries[delivery_id] = LedgerEntry(delivery_id, Status(status), merged_at, rows, *others)
    return entries


def write_count(connection: duckdb.DuckDBPyConnection) -> int:
    """How often a row of the ledger was written: it grows with every commit that does."""
    return int(connection.execute(_RECORDED).fetchall()[0][0])
