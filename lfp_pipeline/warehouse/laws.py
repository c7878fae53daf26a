"""The laws, asked of the warehouse as it is."""

from collections.abc import Sequence

import duckdb

_REPEATED_SKUS = "SELECT count(*) - count(DISTINCT sku) FROM warehouse.products"

_REPEATED_SKUS_OF_DELIVERIES = """
SELECT count(*)
FROM (
    SELECT sku FROM warehouse.products
    SEMI JOIN (
        SELECT sku FROM warehouse.products
        WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
    ) AS delivered USING (sku)
    GROUP BY sku
    HAVING count(*) > 1
)
"""

_UNACCOUNTED = """
SELECT delivery_id
FROM warehouse.deliveries AS delivery
WHERE status = 'merged'
    AND partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))
    AND (
        rows_read <> rows_inserted + rows_updated + rows_unchanged
            + rows_superseded + rows_stale + rows_rejected + rows_deleted
        OR rows_rejected <> (
            SELECT count(*) FROM warehouse.rejected_rows AS rejected
            WHERE rejected.delivery_id = delivery.delivery_id
        )
    )
ORDER BY delivery_id
"""


def product_count(connection: duckdb.DuckDBPyConnection) -> int:
    """How many products there are."""
    return int(connection.execute("SELECT count(*) FROM warehouse.products").fetchall()[0][0])


def repeated_skus(connection: duckdb.DuckDBPyConnection) -> int:
    """How many rows of `products` have a sku that another row has; 0 is right."""
    return int(connection.execute(_REPEATED_SKUS).fetchall()[0][0])


def repeated_skus_of(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> int:
    """How many skus of the rows of some deliveries are in `products` more than once; 0 is right.

    Whoever merged these can have repeated no other.
    """
    found = connection.execute(_REPEATED_SKUS_OF_DELIVERIES, {"delivery_ids": list(delivery_ids)})
    return int(found.fetchall()[0][0])


def unaccounted_deliveries(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str]
) -> list[str]:
    """Merged deliveries of some partitions whose rows do not add up; none is right."""
    found = connection.execute(_UNACCOUNTED, {"partition_keys": list(partition_keys)})
    return [delivery_id for (delivery_id,) in found.fetchall()]
