"""The table `name_counts`: each merge applies the difference, or recounts all names."""

import duckdb

from lfp_pipeline.common.duckdb_tools import transaction

RECOUNT_SHARE = 0.10
"""With more changed names than this share of the products, recounting all is as cheap."""

_CHANGED_NAMES = """
CREATE OR REPLACE TABLE changed_names AS
SELECT name, sum(change)::BIGINT AS change
FROM (
    SELECT old_name AS name, -1 AS change FROM matches WHERE old_name IS NOT NULL
    UNION ALL
    SELECT name, 1 FROM latest
    ANTI JOIN (FROM matches WHERE old_name IS NULL) AS of_the_same_name USING (place)
)
GROUP BY name
HAVING sum(change) <> 0
"""

# Looking the names up costs most, so that is done once.
_APPLY = [
    """
CREATE OR REPLACE TEMP TABLE new_counts AS
SELECT
    counted.rowid AS counted_rowid, name,
    coalesce(counted.no_of_products, 0) + change AS no_of_products
FROM changed_names LEFT JOIN warehouse.name_counts AS counted USING (name)
""",
    """
DELETE FROM warehouse.name_counts WHERE rowid IN (SELECT counted_rowid FROM new_counts)
""",
    """
INSERT INTO warehouse.name_counts
SELECT name, no_of_products FROM new_counts WHERE no_of_products <> 0
""",
]

_RECOUNT = [
    "DELETE FROM warehouse.name_counts",
    """
INSERT INTO warehouse.name_counts
SELECT name, count(*) FROM warehouse.product_rows GROUP BY name
""",
]

WRONG_COUNTS = """
SELECT name
FROM (SELECT name, count(*) AS recounted FROM warehouse.product_rows GROUP BY name) AS truth
FULL JOIN (
    SELECT name, sum(no_of_products) AS counted, count(*) AS times
    FROM warehouse.name_counts GROUP BY name
) AS counts USING (name)
WHERE recounted IS DISTINCT FROM counted OR times <> 1
"""

_TOP_NAMES = """
SELECT name, no_of_products FROM warehouse.name_counts
ORDER BY no_of_products DESC, name LIMIT $limit
"""


def find_changed_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the workspace's table `changed_names` from its `matches` and `latest`."""
    connection.execute(_CHANGED_NAMES)


def apply_changed_names(connection: duckdb.DuckDBPyConnection, products: int) -> None:
    """Bring `name_counts` up to date, within the transaction that changes `products`.

    Args:
        products: the number of products, before or after these changes.
    """
    (changed,) = connection.execute("SELECT count(*) FROM changed_names").fetchall()[0]
    if changed > RECOUNT_SHARE * products:
        recount_names(connection)
        return
    for statement in _APPLY:
        connection.execute(statement)


def recount_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Count all names, within the transaction that changes `products`."""
    for statement in _RECOUNT:
        connection.execute(statement)


def count_mismatches(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of names whose count differs from a full recount; 0 is right."""
    return int(connection.execute(f"SELECT count(*) FROM ({WRONG_COUNTS})").fetchall()[0][0])


def repair_name_counts(connection: duckdb.DuckDBPyConnection) -> int:
    """Recount all names if any count is wrong, and return the number of wrong counts.

    Merges keep the counts right; only an edit by hand makes them wrong.
    """
    wrong = count_mismatches(connection)
    if wrong:
        with transaction(connection):
            recount_names(connection)
    return wrong


def top_names(connection: duckdb.DuckDBPyConnection, limit: int) -> list[tuple[str, int]]:
    """Return the most frequent names with their counts."""
    return connection.execute(_TOP_NAMES, {"limit": limit}).fetchall()
