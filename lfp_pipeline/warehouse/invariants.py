"""The invariants of the tables as queries; docs/design.md states them as I0 to I5."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.model.ledger_entry import FATE_COLUMNS
from lfp_pipeline.warehouse.name_counts import WRONG_COUNTS

_OF_PARTITIONS = """
FROM warehouse.products SEMI JOIN (
    SELECT delivery_id FROM warehouse.deliveries
    WHERE partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))
) AS of_partitions USING (delivery_id)
"""

_REPEATED_SKUS_OF_PARTITIONS = f"""
SELECT count(*)
FROM (
    SELECT sku FROM warehouse.products
    SEMI JOIN (SELECT sku {_OF_PARTITIONS}) AS delivered USING (sku)
    GROUP BY sku
    HAVING count(*) > 1
)
"""

_UNACCOUNTED = f"""
SELECT delivery_id
FROM warehouse.deliveries AS delivery
WHERE status = 'merged'
    AND (
        rows_read <> {" + ".join(FATE_COLUMNS)}
        OR rows_rejected <> (
            SELECT count(*) FROM warehouse.rejected_rows AS rejected
            WHERE rejected.delivery_id = delivery.delivery_id
        )
    )
"""

_EXPECTED = f"""
SELECT delivery_id, rows_read = {" + ".join(FATE_COLUMNS)}, rows_rejected
FROM warehouse.deliveries
WHERE status = 'merged' AND partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))
"""

_KEPT_REJECTS = """
SELECT delivery_id, count(*) FROM warehouse.rejected_rows
WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
GROUP BY delivery_id
"""

_NEEDED = """
SELECT delivery_id FROM warehouse.products UNION SELECT delivery_id FROM warehouse.deletions
"""

_REBUILD = "Run `lfp rebuild`, which rebuilds the tables from the raw zone."


@dataclass(frozen=True)
class Invariant:
    """A query for rows that the tables must not have.

    Attributes:
        description: the offenders, in words.
        offenders_sql: the query for their names, in one column.
        remedy: what to do about them.
    """

    description: str
    offenders_sql: str
    remedy: str = _REBUILD


INVARIANTS = (
    Invariant(
        "skus that are in products more than once",
        "SELECT sku FROM warehouse.product_rows GROUP BY sku HAVING count(*) > 1",
    ),
    Invariant(
        "names whose number in name_counts is not that of a recount",
        WRONG_COUNTS,
        "Materialize name_counts in the UI, or run `lfp rebuild`: both recount.",
    ),
    Invariant("merged deliveries whose rows do not add up", _UNACCOUNTED),
    Invariant(
        "deliveries with more than one row in the ledger",
        "SELECT delivery_id FROM warehouse.deliveries GROUP BY delivery_id HAVING count(*) > 1",
    ),
    Invariant(
        "numbers that more than one row of the ledger has",
        "SELECT ledger_number::VARCHAR FROM warehouse.deliveries "
        "GROUP BY ledger_number HAVING count(*) > 1",
    ),
    Invariant(
        "skus of products whose delivery is not merged, according to the ledger",
        """
SELECT sku FROM warehouse.product_rows
ANTI JOIN (
    FROM warehouse.deliveries WHERE status = 'merged' AND kind = 'products'
) AS merged USING (ledger_number)
""",
    ),
    Invariant(
        "skus of products with a row number that their delivery does not have",
        """
SELECT sku
FROM warehouse.product_rows
JOIN warehouse.deliveries USING (ledger_number)
WHERE status = 'merged'
    AND row_number NOT BETWEEN 1 AND rows_read + blank_lines + repeated_headers
""",
    ),
    Invariant(
        "skus of products whose row is a reject, according to the ledger",
        "SELECT sku FROM warehouse.products SEMI JOIN warehouse.rejected_rows "
        "USING (delivery_id, row_number)",
    ),
    Invariant(
        "deliveries with more products than rows that can win, according to the ledger",
        """
SELECT delivery_id
FROM warehouse.deliveries
JOIN (
    SELECT delivery_id, count(DISTINCT row_number) AS held
    FROM warehouse.products GROUP BY delivery_id
) AS product USING (delivery_id)
WHERE status = 'merged' AND held > rows_read - rows_superseded - rows_rejected
""",
    ),
    Invariant(
        "skus of products that are older than the last deletion of their sku",
        """
SELECT sku
FROM warehouse.products AS product
JOIN warehouse.deletions AS deletion USING (sku)
WHERE (product.delivered_at, product.delivery_id) < (deletion.delivered_at, deletion.delivery_id)
""",
    ),
    Invariant(
        "skus that are in deletions more than once",
        "SELECT sku FROM warehouse.deletions GROUP BY sku HAVING count(*) > 1",
    ),
    Invariant(
        "skus in deletions without a merged deletion of that time, according to the ledger",
        """
SELECT sku FROM warehouse.deletions
ANTI JOIN (
    FROM warehouse.deliveries WHERE status = 'merged' AND kind = 'deletion'
) AS merged USING (delivery_id, delivered_at)
""",
    ),
)

_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """A broken invariant.

    Attributes:
        number: the number of offenders.
        some: the names of the first ones.
    """

    invariant: Invariant
    number: int
    some: Sequence[str]


def product_count(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of products."""
    return int(connection.execute("SELECT count(*) FROM warehouse.product_rows").fetchall()[0][0])


def products_held(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> int:
    """Return the number of products whose present rows came with a delivery."""
    statement = "SELECT count(*) FROM warehouse.products WHERE delivery_id = $delivery_id"
    return int(connection.execute(statement, {"delivery_id": delivery_id}).fetchall()[0][0])


def repeated_skus(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of rows of `products` that repeat the sku of another row; 0 is right."""
    statement = "SELECT count(*) - count(DISTINCT sku) FROM warehouse.product_rows"
    return int(connection.execute(statement).fetchall()[0][0])


def rows_of_partitions(connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str]) -> int:
    """Return the number of products whose present rows came with some partitions."""
    keys = {"partition_keys": list(partition_keys)}
    return int(connection.execute(f"SELECT count(*) {_OF_PARTITIONS}", keys).fetchall()[0][0])


def repeated_skus_of(connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str]) -> int:
    """Return the number of skus of some partitions that `products` has more than once; 0 is right.

    A merge of deliveries of these partitions cannot have repeated another sku.
    """
    keys = {"partition_keys": list(partition_keys)}
    return int(connection.execute(_REPEATED_SKUS_OF_PARTITIONS, keys).fetchall()[0][0])


def unaccounted_deliveries(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None = None
) -> list[str]:
    """Return the merged deliveries whose row counts do not add up; of some partitions, or of all.

    Those of some partitions are compared here: DuckDB would scan all rejects.
    """
    if partition_keys is None:
        found = connection.execute(f"{_UNACCOUNTED} ORDER BY delivery_id").fetchall()
        return [delivery_id for (delivery_id,) in found]
    expected = connection.execute(_EXPECTED, {"partition_keys": list(partition_keys)}).fetchall()
    ids = [delivery_id for delivery_id, _, rejected in expected if rejected]
    kept = dict(connection.execute(_KEPT_REJECTS, {"delivery_ids": ids}).fetchall())
    return sorted(
        delivery_id
        for delivery_id, adds_up, rejected in expected
        if not adds_up or rejected != kept.get(delivery_id, 0)
    )


def needed_deliveries(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the ids of the deliveries that hold a row of products or of deletions."""
    found = connection.execute(_NEEDED).fetchall()
    return frozenset(delivery_id for (delivery_id,) in found)


def violations(connection: duckdb.DuckDBPyConnection) -> list[Violation]:
    """Check all rows of all tables, and return the broken invariants."""
    found = []
    for invariant in INVARIANTS:
        offenders = f"({invariant.offenders_sql}) AS offenders(offender)"
        summary = f"SELECT count(*), min(offender, {_SHOWN}) FROM {offenders}"
        number, some = connection.execute(summary).fetchall()[0]
        if number:
            found.append(Violation(invariant, number, some))
    return found
