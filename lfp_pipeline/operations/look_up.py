"""Looks products and names up in the tables."""

from collections.abc import Sequence

from lfp_pipeline.operations.read_tables import Row, Tables

_PLAIN = "lower(strip_accents({}))"
_PLAIN_SKU, _PLAIN_NAME, _PLAIN_DESCRIPTION = map(_PLAIN.format, ("sku", "name", "description"))

_BY_SKU_OR_NAME = f"""
SELECT sku, name, description, CASE
    WHEN sku = $text THEN 0
    WHEN {_PLAIN_SKU} = $plain THEN 1
    WHEN starts_with({_PLAIN_SKU}, $plain) THEN 2
    WHEN contains({_PLAIN_SKU}, $plain) THEN 3
    WHEN {_PLAIN_NAME} = $plain THEN 4
    WHEN starts_with({_PLAIN_NAME}, $plain) THEN 5
    ELSE 6
END AS rank
FROM products
WHERE contains({_PLAIN_SKU}, $plain) OR contains({_PLAIN_NAME}, $plain)
ORDER BY rank, sku
LIMIT $limit
"""

_BY_DESCRIPTION = f"""
SELECT sku, name, description, 7 AS rank
FROM products
WHERE contains({_PLAIN_DESCRIPTION}, $plain)
    AND NOT contains({_PLAIN_SKU}, $plain) AND NOT contains({_PLAIN_NAME}, $plain)
ORDER BY sku
LIMIT $limit
"""

_FOUND_IN = ("sku",) * 4 + ("name",) * 3 + ("description",)
"""Where a product of each rank has the text."""

_PRODUCT = """
SELECT sku, name, description, delivery_id, product.delivered_at, row_number,
    source, merged_at
FROM products AS product LEFT JOIN deliveries USING (delivery_id)
WHERE sku = $sku
"""

_DELETION = """
SELECT sku, delivery_id, delivered_at FROM deletions WHERE sku = $sku
"""

_NEAR = """
SELECT sku FROM products
WHERE jaro_winkler_similarity(sku, $sku, 0.8) > 0
ORDER BY jaro_winkler_similarity(sku, $sku) DESC, sku
LIMIT 3
"""

_NAMES = f"""
SELECT name, no_of_products FROM name_counts
WHERE contains({_PLAIN_NAME}, $plain)
ORDER BY no_of_products DESC, name
LIMIT $limit
"""


def search_products(tables: Tables, text: str, limit: int) -> list[dict[str, str]]:
    """Return the products whose sku, name or description contains a text, the best matches first.

    Case and accents do not matter. Descriptions are searched only if fewer than `limit` products
    have the text in the sku or name, because their search takes longest.
    """
    plain = _plain(tables, text)
    values = {"text": text, "plain": plain, "limit": limit}
    found = tables.rows(_BY_SKU_OR_NAME, values)
    if len(found) < limit:
        rest = {"plain": plain, "limit": limit - len(found)}
        found += tables.rows(_BY_DESCRIPTION, rest)
    return [
        {"sku": row["sku"], "name": row["name"], "description": row["description"]}
        | {"found_in": _FOUND_IN[row["rank"]]}
        for row in found
    ]


def product_with(tables: Tables, sku: str) -> Row | None:
    """Return the product with exactly this sku, and its delivery; None: there is none."""
    found = tables.rows(_PRODUCT, {"sku": sku})
    return found[0] if found else None


def last_deletion(tables: Tables, sku: str) -> Row | None:
    """Return id and time of the purge that last deleted a sku; None: none did."""
    found = tables.rows(_DELETION, {"sku": sku})
    return found[0] if found else None


def near_skus(tables: Tables, sku: str) -> Sequence[str]:
    """Return the skus that are most like this one."""
    return [row["sku"] for row in tables.rows(_NEAR, {"sku": sku})]


def most_frequent_names(tables: Tables, limit: int, text: str = "") -> list[Row]:
    """Return the most frequent names, with their numbers of products.

    Only names that contain the text count; case and accents do not matter.
    """
    return tables.rows(_NAMES, {"plain": _plain(tables, text), "limit": limit})


def _plain(tables: Tables, text: str) -> str:
    (row,) = tables.rows(f"SELECT {_PLAIN.format('$text')} AS plain", {"text": text})
    return str(row["plain"])
