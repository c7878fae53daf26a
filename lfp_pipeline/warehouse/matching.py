"""Decides which of two rows of a sku wins: a staged row or the product; nothing is written yet.

The workspace has the rows of the batch in `arrivals`, with deliveries numbered from the oldest.
Here it gets these tables and views:

    batch           (delivery_number, delivery_id, delivered_at)
    deleted_later   (delivery_number, place): staged rows that are older than the deletion of their
                    sku; they are stale
    remaining       the other staged rows
    latest          of these, the newest row of each sku: the batch brings products to this state
    known           the products of these skus, and maybe of others
    matches         (product_rowid, place, fate, old_name): the latest rows whose sku is known;
                    old_name where another name replaces it
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import RowCounts

STRETCH_ROWS = 1_000_000
"""The number of products compared at a time; their texts fit into any memory limit."""

_BATCH = """
CREATE TYPE fate AS ENUM ('stale', 'unchanged', 'updated');

CREATE TABLE batch AS
SELECT
    unnest(range(len($delivery_ids)))::USMALLINT AS delivery_number,
    unnest($delivery_ids::VARCHAR[]) AS delivery_id,
    unnest($delivered_at::TIMESTAMP[]) AS delivered_at
"""

# A product is newer than the deletion of its sku. So a row that is older than the deletion is older
# than the product, too.
_FIND_DELETED_LATER = """
INSERT INTO deleted_later
SELECT delivery_number, place
FROM arrivals
JOIN batch USING (delivery_number)
JOIN warehouse.deletions AS deletion USING (sku)
WHERE deletion.delivered_at > batch.delivered_at
    OR (deletion.delivered_at = batch.delivered_at AND deletion.delivery_id > batch.delivery_id)
"""

_COUNT_DELETED_LATER = (
    "SELECT delivery_number, count(*) FROM deleted_later GROUP BY delivery_number"
)

_REMAINING = "CREATE VIEW remaining AS FROM arrivals"
_REMAINING_WITHOUT_DELETED = f"{_REMAINING} ANTI JOIN deleted_later USING (place)"

_LATEST_OF_ONE = "CREATE VIEW latest AS FROM remaining"

# A product whose ledger entry is missing counts as older.
_KNOWN_TO_ONE = """
CREATE VIEW known AS
SELECT product.rowid AS product_rowid, sku, name, delivery_id, delivered_at
FROM warehouse.product_rows AS product
LEFT JOIN warehouse.deliveries USING (ledger_number)
"""

_LATEST_OF_SEVERAL = """
CREATE TABLE latest AS
FROM remaining
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY delivery_number DESC) = 1
"""

_KNOWN_TO_SEVERAL = """
CREATE TABLE found AS
SELECT product.rowid AS product_rowid
FROM warehouse.product_rows AS product
SEMI JOIN latest USING (sku);

CREATE TABLE known AS
SELECT product_rowid, sku, name, description, delivery_id, delivered_at
FROM warehouse.product_rows AS product
JOIN found ON product.rowid = found.product_rowid
LEFT JOIN warehouse.deliveries USING (ledger_number)
"""

_KNOWN_IS_NEWER = """(
    known.delivered_at > batch.delivered_at
    OR (known.delivered_at = batch.delivered_at AND known.delivery_id > batch.delivery_id)
)"""

_MATCHES = f"""
CREATE TABLE matches AS
SELECT
    known.product_rowid, latest.place,
    CASE
        WHEN {_KNOWN_IS_NEWER} THEN 'stale'::fate
        WHEN known.name = latest.name THEN 'unchanged'::fate
        ELSE 'updated'::fate
    END AS fate,
    CASE WHEN fate = 'updated' THEN known.name END AS old_name
FROM known
JOIN latest USING (sku)
JOIN batch USING (delivery_number)
"""

# Reading descriptions costs most. DuckDB reads only those near the rowids and places in question:
# few for a small delivery; for a large one, each of them once, if its rows are in about the same
# order as those of the delivery before.
_COMPARE_DESCRIPTIONS = """
UPDATE matches SET fate = 'updated'
FROM (
    SELECT same.product_rowid
    FROM (FROM {same} WHERE product_rowid BETWEEN $first AND $last) AS same
    JOIN (SELECT rowid AS product_rowid, description FROM warehouse.product_rows) AS product
        USING (product_rowid)
    JOIN descriptions AS arrived USING (place)
    WHERE product.description <> arrived.description
) AS other
WHERE matches.product_rowid = other.product_rowid
"""

_COMPARE_KNOWN_DESCRIPTIONS = """
UPDATE matches SET fate = 'updated'
FROM (
    SELECT product_rowid
    FROM matches
    JOIN known_descriptions AS known USING (product_rowid)
    JOIN descriptions AS arrived USING (place)
    WHERE fate = 'unchanged' AND known.description <> arrived.description
) AS other
WHERE matches.product_rowid = other.product_rowid
"""

_UNCHANGED = "(FROM matches WHERE fate = 'unchanged')"
_UNCOMPARED = f"({_UNCHANGED} ANTI JOIN known_descriptions USING (product_rowid))"

_BY_PART = """
SELECT product_rowid // $width AS part, count(*)
FROM {matched}
GROUP BY part ORDER BY part
"""

_PARTS_OF_STRETCH = 10

# With a bit for each place, distinct places are counted fast, up to a number of bits.
_REPEATED = """
SELECT count(*) - coalesce(bit_count(bitstring_agg(place, 0::BIGINT, $last::BIGINT)), 0)
FROM matches
"""
_MAX_BITS = 1_000_000_000
_REPEATED_AMONG_MANY = "SELECT count(*) - count(DISTINCT place) FROM matches"

_COUNTS_OF_ONE = """
SELECT
    0,
    (SELECT count(*) FROM latest) - count(*),
    count(*) FILTER (fate = 'updated'),
    count(*) FILTER (fate = 'unchanged'),
    count(*) FILTER (fate = 'stale')
FROM matches
"""

# The counts are those of merging the deliveries one after the other, oldest first: each row is
# compared with the row before it, which is a product or a row of an earlier delivery of the batch.
_COMPARED = f"""
WITH placed AS (
    SELECT
        delivery_number, arrival.*,
        known.name AS known_name, known.description AS known_description,
        known.sku IS NOT NULL AND {_KNOWN_IS_NEWER} AS stale
    FROM remaining AS arrival
    JOIN batch USING (delivery_number)
    LEFT JOIN known ON known.sku = arrival.sku
),
compared AS (
    SELECT
        delivery_number, row_number, sku, name, description, stale,
        coalesce(lag(CASE WHEN stale THEN known_name ELSE name END) OVER by_age, known_name)
            AS old_name,
        coalesce(
            lag(CASE WHEN stale THEN known_description ELSE description END) OVER by_age,
            known_description
        ) AS old_description
    FROM placed
    WINDOW by_age AS (PARTITION BY sku ORDER BY delivery_number)
),
fates AS (
    SELECT *, CASE
        WHEN stale THEN 'stale'
        WHEN old_name IS NULL THEN 'inserted'
        WHEN old_name = name AND old_description = description THEN 'unchanged'
        ELSE 'updated'
    END AS fate
    FROM compared
)
"""

_COUNTS_OF_SEVERAL = f"""
{_COMPARED}
SELECT
    delivery_number,
    count(*) FILTER (fate = 'inserted'),
    count(*) FILTER (fate = 'updated'),
    count(*) FILTER (fate = 'unchanged'),
    count(*) FILTER (fate = 'stale')
FROM fates
GROUP BY delivery_number
"""

_SAMPLES = f"""
{_COMPARED}
SELECT delivery_number, fate, row_number, sku, name, description, old_name, old_description
FROM (
    FROM fates
    UNION ALL BY NAME
    SELECT delivery_number, 'stale' AS fate, row_number, sku, name, description
    FROM arrivals SEMI JOIN deleted_later USING (place)
)
QUALIFY row_number() OVER (PARTITION BY delivery_number, fate ORDER BY row_number) <= $limit
ORDER BY delivery_number, row_number
"""


def match(
    connection: duckdb.DuckDBPyConnection,
    deliveries: Sequence[Delivery],
    *,
    as_batch: bool = False,
    has_known: bool = False,
) -> dict[int, RowCounts]:
    """Find the products of the staged skus, and count the rows of each delivery by fate.

    The deliveries are in the order of their numbers, which is their order in time. Return the
    counts of inserted, updated, unchanged and stale rows, by number of the delivery.

    Args:
        as_batch: match a single delivery as one of several, as `samples` requires.
        has_known: the workspace has `known` already, and `known_descriptions` of some of them.

    Raises:
        WarehouseInconsistentError: products have a sku twice.
    """
    several = as_batch or len(deliveries) > 1
    connection.execute(
        _BATCH,
        {
            "delivery_ids": [delivery.delivery_id for delivery in deliveries],
            "delivered_at": [delivery.delivered_at for delivery in deliveries],
        },
    )
    deletions = connection.execute("SELECT count(*) FROM warehouse.deletions").fetchall()[0][0]
    connection.execute("CREATE TABLE deleted_later (delivery_number USMALLINT, place BIGINT)")
    if deletions:
        connection.execute(_FIND_DELETED_LATER)
    deleted_later = connection.execute(_COUNT_DELETED_LATER).fetchall()
    connection.execute(_REMAINING_WITHOUT_DELETED if deleted_later else _REMAINING)
    connection.execute(_LATEST_OF_SEVERAL if several else _LATEST_OF_ONE)
    if not has_known:
        connection.execute(_KNOWN_TO_SEVERAL if several else _KNOWN_TO_ONE)
    connection.execute(_MATCHES)
    if has_known:
        connection.execute(_COMPARE_KNOWN_DESCRIPTIONS)
    same = _UNCOMPARED if has_known else _UNCHANGED
    for first, last in _stretches(connection, same):
        statement = _COMPARE_DESCRIPTIONS.format(same=same)
        connection.execute(statement, {"first": first, "last": last})
    if repeated := _repeated(connection):
        msg = f"products has {repeated} of the delivered skus more than once. Run `lfp rebuild`."
        raise WarehouseInconsistentError(msg)
    counted = connection.execute(_COUNTS_OF_SEVERAL if several else _COUNTS_OF_ONE).fetchall()
    found = {
        number: RowCounts(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale)
        for number, inserted, updated, unchanged, stale in counted
    }
    for number, stale in deleted_later:
        rows = found.get(number, RowCounts())
        found[number] = replace(rows, stale=rows.stale + stale)
    return found


def samples(connection: duckdb.DuckDBPyConnection, limit: int) -> list[tuple[Any, ...]]:
    """Return the first rows of each delivery and fate, after a match as a batch.

    The columns are: number of the delivery, fate, row number, sku, name, description; and the name
    and description that the row replaces.
    """
    return connection.execute(_SAMPLES, {"limit": limit}).fetchall()


def stretches_of_unchanged(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """Yield the first and last rowid of stretches with about `STRETCH_ROWS` unchanged products.

    A join with the rows of a stretch takes little memory.
    """
    return _stretches(connection, _UNCHANGED)


def _stretches(connection: duckdb.DuckDBPyConnection, matched: str) -> Iterator[tuple[int, int]]:
    width = max(STRETCH_ROWS // _PARTS_OF_STRETCH, 1)
    first, rows = 0, 0
    for part, count in connection.execute(
        _BY_PART.format(matched=matched), {"width": width}
    ).fetchall():
        rows += count
        if rows >= STRETCH_ROWS:
            yield first, (part + 1) * width - 1
            first, rows = (part + 1) * width, 0
    if rows:
        yield first, (part + 1) * width - 1


def _repeated(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of matches of staged rows beyond the first of each row."""
    (last,) = connection.execute("SELECT coalesce(max(place), 0) FROM matches").fetchall()[0]
    if last < _MAX_BITS:
        return int(connection.execute(_REPEATED, {"last": last}).fetchall()[0][0])
    return int(connection.execute(_REPEATED_AMONG_MANY).fetchall()[0][0])
