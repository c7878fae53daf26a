"""What arrives, beside what the warehouse holds: found before anything is written.

In the workspace, from a batch's `arrivals`, in which deliveries are numbered by age:

    batch     (delivery_number, delivery_id, delivered_at)
    latest    the last arrival of each sku: whatever the batch changes, it changes to this
    known     (product_rowid, sku, name, description, delivery_id, delivered_at) of products
    matches   (product_rowid, delivery_number, row_number, fate, old_name): the latest of known skus
              `stale`, `unchanged` or `updated`
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.warehouse.laws import product_count

FEW = 4
"""With so many times more products than arrivals, descriptions are not read for all products."""

_BATCH = """
CREATE TABLE batch AS
SELECT
    unnest(range(len($delivery_ids)))::USMALLINT AS delivery_number,
    unnest($delivery_ids::VARCHAR[]) AS delivery_id,
    unnest($delivered_at::TIMESTAMP[]) AS delivered_at
"""

_LATEST_OF_ONE = "CREATE VIEW latest AS FROM arrivals"

_LATEST_OF_SEVERAL = """
CREATE TABLE latest AS
FROM arrivals
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY delivery_number DESC) = 1
"""

_KNOWN_ARE_ALL = """
CREATE VIEW known AS
SELECT rowid AS product_rowid, sku, name, description, delivery_id, delivered_at
FROM warehouse.products
"""

_KNOWN_ARE_FEW = """
CREATE TABLE known AS
SELECT
    product.rowid AS product_rowid, sku, product.name, NULL::VARCHAR AS description,
    product.delivery_id, product.delivered_at,
    $several OR product.name = latest.name AS description_counts
FROM warehouse.products AS product
JOIN latest USING (sku)
"""

# Reading them is what costs most, and DuckDB reads only those whose rowid is asked for.
_FETCH_DESCRIPTIONS = """
UPDATE known SET description = product.description
FROM warehouse.products AS product
WHERE product.rowid = known.product_rowid AND known.description_counts
"""

_KNOWN_IS_NEWER = """(
    known.delivered_at > batch.delivered_at
    OR (known.delivered_at = batch.delivered_at AND known.delivery_id > batch.delivery_id)
)"""

_MATCHES = f"""
CREATE TABLE matches AS
SELECT
    known.product_rowid, latest.delivery_number, latest.row_number,
    CASE
        WHEN {_KNOWN_IS_NEWER} THEN 'stale'
        WHEN known.name = latest.name AND known.description = latest.description THEN 'unchanged'
        ELSE 'updated'
    END AS fate,
    CASE WHEN fate = 'updated' THEN known.name END AS old_name
FROM known
JOIN latest USING (sku)
JOIN batch USING (delivery_number)
"""

_REPEATED = """
SELECT count(*) FROM (
    SELECT 1 FROM matches GROUP BY delivery_number, row_number HAVING count(*) > 1
)
"""

_FATES_OF_ONE = """
SELECT
    0,
    (SELECT count(*) FROM arrivals) - count(*),
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
    FROM arrivals AS arrival
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


@dataclass(frozen=True)
class Fates:
    """How many of a delivery's arrivals are of new skus, and what the others do to known ones."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0


def match(
    connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Delivery]
) -> dict[int, Fates]:
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
    connection.execute(_LATEST_OF_SEVERAL if several else _LATEST_OF_ONE)
    (arrived,) = connection.execute("SELECT count(*) FROM latest").fetchall()[0]
    if product_count(connection) > FEW * arrived:
        connection.execute(_KNOWN_ARE_FEW, {"several": several})
        connection.execute(_FETCH_DESCRIPTIONS)
    else:
        connection.execute(_KNOWN_ARE_ALL)
    connection.execute(_MATCHES)
    (repeated,) = connection.execute(_REPEATED).fetchall()[0]
    if repeated:
        msg = f"{repeated} of the skus that arrive are in products more than once."
        raise WarehouseInconsistentError(msg)
    counted = connection.execute(_FATES_OF_SEVERAL if several else _FATES_OF_ONE).fetchall()
    return {number: Fates(*fates) for number, *fates in counted}
