"""The ledger: one row per delivery, in the table `deliveries`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import duckdb

from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.warehouse.account import STATUSES, Account, Status

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

_COLUMNS = """
SELECT delivery_id, status, merged_at, rows_read, rows_inserted, rows_updated, rows_unchanged,
    rows_superseded, rows_stale, rows_rejected, rows_deleted, error, read_with, seconds,
    blank_lines, repeated_headers, lines_above_header, notes, read_conditions
FROM warehouse.deliveries
"""

# Of a delivery that holds no product and no deletion.
_GIVE_UP = """
UPDATE warehouse.deliveries
SET
    status = 'failed', error = $told, attempts = attempts + 1, merged_at = NULL,
    rows_read = 0, rows_inserted = 0, rows_updated = 0, rows_unchanged = 0,
    rows_superseded = 0, rows_stale = 0, rows_rejected = 0, rows_deleted = 0,
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

# One text for each status: to fetch all rows takes much longer. No id has a line end in it.
_STATUSES = "SELECT status, string_agg(delivery_id, chr(10)) FROM warehouse.deliveries"

_OF_PARTITIONS = "WHERE partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))"

_BY_STATUS = "GROUP BY status"


def record(
    connection: duckdb.DuckDBPyConnection, entries: Sequence[tuple[Delivery, Account]]
) -> None:
    """Write the rows of some deliveries, in the place of earlier ones."""
    ids = [delivery.delivery_id for delivery, _ in entries]
    attempts = dict(connection.execute(_ATTEMPTS, {"delivery_ids": ids}).fetchall())
    connection.execute(_FORGET, {"delivery_ids": ids})
    told = [
        _entry(*entry, attempts.get(id_, 0) + 1) for entry, id_ in zip(entries, ids, strict=True)
    ]
    connection.execute(_RECORD, {"entries": told})


def forget(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the rows of some deliveries, as if they had never been tried."""
    connection.execute(_FORGET, {"delivery_ids": delivery_ids})
    forget_rejects(connection, delivery_ids)


def forget_rejects(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the rejected rows of some deliveries."""
    connection.execute(_FORGET_REJECTS, {"delivery_ids": delivery_ids})


def forget_conditions(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> None:
    """Have a delivery that is not merged be read with the settings of whoever merges it."""
    connection.execute(_FORGET_CONDITIONS, {"delivery_id": delivery_id})


def give_up(connection: duckdb.DuckDBPyConnection, delivery_id: str, told: str) -> None:
    """Let a delivery that holds nothing count as merged no longer: landed again, it is merged anew.

    Args:
        connection: with the warehouse attached.
        delivery_id: whose.
        told: why.
    """
    forget_rejects(connection, [delivery_id])
    connection.execute(_GIVE_UP, {"delivery_id": delivery_id, "told": told})


def _entry(delivery: Delivery, account: Account, attempts: int) -> dict[str, Any]:
    return asdict(account) | {
        "status": account.status.value,
        "kind": delivery.kind.value,
        "attempts": attempts,
        "partition_key": delivery.partition_key,
        "source": delivery.source,
        "sha256": delivery.sha256,
        "size_bytes": delivery.size_bytes,
        "delivered_at": delivery.delivered_at,
    }


def accounts(
    connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]
) -> dict[str, Account]:
    """The accounts of some deliveries, by delivery id, as far as the ledger knows them."""
    ids = {"delivery_ids": delivery_ids}
    return _accounts(connection.execute(_COLUMNS + _OF_DELIVERIES, ids))


def account_of(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> Account | None:
    """The account of a delivery; None: the ledger does not know it."""
    return accounts(connection, [delivery.delivery_id]).get(delivery.delivery_id)


def all_accounts(connection: duckdb.DuckDBPyConnection) -> dict[str, Account]:
    """The accounts of all deliveries, by delivery id."""
    return _accounts(connection.execute(_COLUMNS))


def statuses(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None = None
) -> dict[str, Status]:
    """The status of all deliveries, or of those of some partitions, by delivery id."""
    if partition_keys is None:
        found = connection.execute(f"{_STATUSES} {_BY_STATUS}")
    else:
        keys = {"partition_keys": partition_keys}
        found = connection.execute(f"{_STATUSES} {_OF_PARTITIONS} {_BY_STATUS}", keys)
    status_of: dict[str, Status] = {}
    for status, ids in found.fetchall():
        status_of |= dict.fromkeys(ids.split("\n"), STATUSES[status])
    return status_of


def _accounts(found: duckdb.DuckDBPyConnection) -> dict[str, Account]:
    return {row[0]: Account(row[0], Status(row[1]), *row[2:]) for row in found.fetchall()}


def times_recorded(connection: duckdb.DuckDBPyConnection) -> int:
    """How often a row of the ledger was written: it grows with every commit that does."""
    return int(connection.execute(_RECORDED).fetchall()[0][0])
