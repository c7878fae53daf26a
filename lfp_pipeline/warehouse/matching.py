"""What arrives, beside what the warehouse holds: found before anything is written.

In the workspace, from a batch's `arrivals`, in which deliveries are numbered by age:

    batch     (delivery_number, delivery_id, delivered_at)
    dead      (delivery_number, place): arrivals whose skus were deleted later; they are stale
    latest    the last of the other arrivals of each sku: what the batch changes, it changes to this
    known     what products hold of these skus, and maybe of others
    matches   (product_rowid, place, fate, old_name): of the latest, those that are known; old_name
              where that is replaced by another
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import duckdb

from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import RowCounts

STRETCH_ROWS = 1_000_000
"""So many products are compared at a time: their texts fit into memory, whatever its limit."""

_BATCH = """
CREATE TYPE fate AS ENUM ('stale', 'unchanged', 'updated');

CREATE TABLE batch AS
SELECT
    unnest(range(len($delivery_ids)))::USMALLINT AS delivery_number,
    unnest($delivery_ids::VARCHAR[]) AS delivery_id,
    unnest($delivered_at::TIMESTAMP[]) AS delivered_at
"""

_NO_DEAD = "CREATE TABLE dead (delivery_number USMALLINT, place BIGINT)"

# A product is newer than the deletion of its sku; so what is older than that is older than both.
_DEAD = """
INSERT INTO dead
SELECT delivery_number, place
FROM arrivals
JOIN batch USING (delivery_number)
JOIN warehouse.deletions AS deletion USING (sku)
WHERE deletion.delivered_at > batch.delivered_at
    OR (deletion.delivered_at = batch.delivered_at AND deletion.delivery_id > batch.delivery_id)
"""

_LIVING = "CREATE VIEW living AS FROM arrivals"
_LIVING_OF_SOME = f"{_LIVING} ANTI JOIN dead USING (place)"

_DEAD_OF_EACH = "SELECT delivery_number, count(*) FROM dead GROUP BY delivery_number"

_LATEST_OF_ONE = "CREATE VIEW latest AS FROM living"

_KNOWN_TO_ONE = """
CREATE VIEW known AS
SELECT rowid AS product_rowid, sku, name, delivery_id, delivered_at FROM warehouse.products
"""

_LATEST_OF_SEVERAL = """
CREATE TABLE latest AS
FROM living
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY delivery_number DESC) = 1
"""

_KNOWN_TO_SEVERAL = """
CREATE TABLE found AS
SELECT product.rowid AS product_rowid
FROM warehouse.products AS product
SEMI JOIN latest USING (sku);

CREATE TABLE known AS
SELECT product_rowid, sku, name, description, delivery_id, delivered_at
FROM warehouse.products AS product
JOIN found ON product.rowid = found.product_rowid
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

# Descriptions are what costs most to read. DuckDB reads only those near a rowid or place that is
# asked for: few for a small delivery; for a large one, each of them once, if it is in much the same
# order as the one before.
_COMPARE_DESCRIPTIONS = """
UPDATE matches SET fate = 'updated'
FROM (
    SELECT same.product_rowid
    FROM (
        FROM matches WHERE fate = 'unchanged' AND product_rowid BETWEEN $first AND $last
    ) AS same
    JOIN (SELECT rowid AS product_rowid, description FROM warehouse.products) AS product
        USING (product_rowid)
    JOIN descriptions AS arrived USING (place)
    WHERE product.description <> arrived.description
) AS other
WHERE matches.product_rowid = other.product_rowid
"""

_UNCHANGED_BY_PLACE = """
SELECT product_rowid // $width AS part, count(*)
FROM matches WHERE fate = 'unchanged'
GROUP BY part ORDER BY part
"""

_PARTS_OF_STRETCH = 10

# A bit for each place: so distinct ones are counted in no time. There is an end to that.
_REPEATED = """
SELECT count(*) - coalesce(bit_count(bitstring_agg(place, 0::BIGINT, $last::BIGINT)), 0)
FROM matches
"""
_MOST_BITS = 1_000_000_000
_REPEATED_OF_MORE = "SELECT count(*) - count(DISTINCT place) FROM matches"

_FATES_OF_ONE = """
SELECT
    0,
    (SELECT count(*) FROM latest) - count(*),
    count(*) FILTER (fate = 'updated'),
    count(*) FILTER (fate = 'unchanged'),
    count(*) FILTER (fate = 'stale')
FROM matches
"""

# As if they were merged one after the other, oldest first: each row is compared with the one that
# stands there by then, be it known or of an earlier delivery of the batch.
_FATES_OF_SEVERAL = f"""
WITH placed AS (
    SELECT
        delivery_number, arrival.*,
        known.name AS known_name, known.description AS known_description,
        known.sku IS NOT NULL AND {_KNOWN_IS_NEWER} AS stale
    FROM living AS arrival
    JOIN batch USING (delivery_number)
    LEFT JOIN known ON known.sku = arrival.sku
),
compared AS (
    SELECT
        delivery_number, name, description, stale,
        coalesce(lag(CASE WHEN stale THEN known_name ELSE name END) OVER by_age, known_name)
            AS old_name,
        coalesce(
            lag(CASE WHEN stale THEN known_description ELSE description END) OVER by_age,
            known_description
        ) AS old_description
    FROM placed
    WINDOW by_age AS (PARTITION BY sku ORDER BY delivery_number)
)
SELECT
    delivery_number,
    count(*) FILTER (NOT stale AND old_name IS NULL),
    count(*) FILTER (
        NOT stale AND old_name IS NOT NULL
        AND (old_name, old_description) IS DISTINCT FROM (name, description)
    ),
    count(*) FILTER (NOT stale AND old_name = name AND old_description = description),
    count(*) FILTER (stale)
FROM compared
GROUP BY delivery_number
"""


def match(
    connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Delivery]
) -> dict[int, RowCounts]:
    """Find the products of the skus that arrive, and the fates of the arrivals of each delivery.

    Args:
        connection: to the workspace, with the warehouse attached.
        deliveries: in the order of their numbers, which is that of age.

    Raises:
        WarehouseInconsistentError: a sku is there twice.
    """
    several = len(deliveries) > 1
    connection.execute(
        _BATCH,
        {
            "delivery_ids": [delivery.delivery_id for delivery in deliveries],
            "delivered_at": [delivery.delivered_at for delivery in deliveries],
        },
    )
    deleted = connection.execute("SELECT count(*) FROM warehouse.deletions").fetchall()[0][0]
    connection.execute(_NO_DEAD)
    if deleted:
        connection.execute(_DEAD)
    dead = connection.execute(_DEAD_OF_EACH).fetchall()
    connection.execute(_LIVING_OF_SOME if dead else _LIVING)
    connection.execute(_LATEST_OF_SEVERAL if several else _LATEST_OF_ONE)
    connection.execute(_KNOWN_TO_SEVERAL if several else _KNOWN_TO_ONE)
    connection.execute(_MATCHES)
    _compare_descriptions(connection)
    if repeated := _repeated(connection):
        msg = f"{repeated} of the skus that arrive are in products more than once."
        raise WarehouseInconsistentError(msg)
    counted = connection.execute(_FATES_OF_SEVERAL if several else _FATES_OF_ONE).fetchall()
    found = {
        number: RowCounts(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale)
        for number, inserted, updated, unchanged, stale in counted
    }
    for number, stale in dead:
        rows = found.get(number, RowCounts())
        found[number] = replace(rows, stale=rows.stale + stale)
    return found


def _compare_descriptions(connection: duckdb.DuckDBPyConnection) -> None:
    """Of the matches with the same name, tell those apart that have another description."""
    for first, last in _stretches(connection):
        connection.execute(_COMPARE_DESCRIPTIONS, {"first": first, "last": last})


def _stretches(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """First and last rowid of stretches of products with so many unchanged ones, or little more."""
    width = max(STRETCH_ROWS // _PARTS_OF_STRETCH, 1)
    first, rows = 0, 0
    for part, count in connection.execute(_UNCHANGED_BY_PLACE, {"width": width}).fetchall():
        rows += count
        if rows >= STRETCH_ROWS:
            yield first, (part + 1) * width - 1
            first, rows = (part + 1) * width, 0
    if rows:
        yield first, (part + 1) * width - 1


def _repeated(connection: duckdb.DuckDBPyConnection) -> int:
    """How many arrivals match more than one product."""
    (last,) = connection.execute("SELECT coalesce(max(place), 0) FROM matches").fetchall()[0]
    if last < _MOST_BITS:
        return int(connection.execute(_REPEATED, {"last": last}).fetchall()[0][0])
    return int(connection.execute(_REPEATED_OF_MORE).fetchall()[0][0])
