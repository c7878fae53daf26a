"""The ledger: one row per delivery, in the table `deliveries`."""

from collections.abc import Iterable
from dataclasses import asdict

import duckdb

from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.warehouse.account import Account, Status

_FORGET = "DELETE FROM warehouse.deliveries WHERE delivery_id = $delivery_id"

_RECORD = """
INSERT INTO warehouse.deliveries BY NAME
SELECT
    $delivery_id AS delivery_id,
    $partition_key AS partition_key,
    $source AS source,
    $sha256 AS sha256,
    $size_bytes AS size_bytes,
    $delivered_at::TIMESTAMP AS delivered_at,
    $merged_at::TIMESTAMP AS merged_at,
    $status AS status,
    $rows_read AS rows_read,
    $rows_inserted AS rows_inserted,
    $rows_updated AS rows_updated,
    $rows_unchanged AS rows_unchanged,
    $rows_superseded AS rows_superseded,
    $rows_stale AS rows_stale,
    $rows_rejected AS rows_rejected,
    $error AS error
"""

_FIND = """
SELECT delivery_id, status, merged_at, rows_read, rows_inserted, rows_updated, rows_unchanged,
    rows_superseded, rows_stale, rows_rejected, error
FROM warehouse.deliveries
WHERE partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))
"""


def record(connection: duckdb.DuckDBPyConnection, delivery: Delivery, account: Account) -> None:
    """Write a delivery's row, in the place of an earlier one."""
    fields = asdict(account) | {
        "status": account.status.value,
        "partition_key": delivery.partition_key,
        "source": delivery.source,
        "sha256": delivery.sha256,
        "size_bytes": delivery.size_bytes,
        "delivered_at": delivery.delivered_at,
    }
    connection.execute(_FORGET, {"delivery_id": delivery.delivery_id})
    connection.execute(_RECORD, fields)


def accounts(
    connection: duckdb.DuckDBPyConnection, partition_keys: Iterable[str]
) -> dict[str, Account]:
    """The accounts of all deliveries of some partitions, by delivery id."""
    rows = connection.execute(_FIND, {"partition_keys": list(partition_keys)}).fetchall()
    return {row[0]: Account(row[0], Status(row[1]), *row[2:]) for row in rows}


def account_of(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> Account | None:
    """The account of one delivery, if it has one."""
    return accounts(connection, [delivery.partition_key]).get(delivery.delivery_id)
