"""The reversal of a delivery: brings the tables to the state without that delivery.

A row that wins hides all older rows of its sku; these are in no table, but in the raw zone. So the
older deliveries are read again, the newest first, until a replacement of each sku that the delivery
has won or deleted is found. The workspace has these tables:

    open_skus     (sku, has_product): the skus that the delivery has won or deleted; a deletion may
                  have left a newer product of a sku
    tombstones    (sku, delivery_id, delivered_at): the last other deletion of each of these skus
    replacements  (the columns of products): the rows that win instead

An older delivery may have been read with other settings. If it is to be read with the present ones,
it is corrected: its rows are removed, too, and all winners of the new reading are replacements.

    corrected          (delivery_id): the corrected deliveries
    corrected_rejects  (the columns of rejected_rows): their rejects
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery, Kind, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status, unmerged_entry
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.raw_zone.byte_store import LAND_AGAIN
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import delete_rejects, entry_of, mark_unmerged, record
from lfp_pipeline.warehouse.name_counts import apply_changed_names

_BEGIN = [
    """
CREATE OR REPLACE TABLE open_skus AS
SELECT sku, product.delivery_id IS NOT NULL AS has_product
FROM (
    SELECT sku FROM warehouse.products WHERE delivery_id = $delivery_id
    UNION SELECT sku FROM warehouse.deletions WHERE delivery_id = $delivery_id
)
LEFT JOIN (FROM warehouse.products WHERE delivery_id <> $delivery_id) AS product USING (sku)
""",
    """
CREATE OR REPLACE TABLE tombstones AS
FROM warehouse.deletions SEMI JOIN open_skus USING (sku) WHERE delivery_id <> $delivery_id
""",
]

_EMPTY = [
    "CREATE OR REPLACE TABLE replacements AS FROM warehouse.products LIMIT 0",
    "CREATE OR REPLACE TABLE corrected (delivery_id VARCHAR)",
    "CREATE OR REPLACE TABLE corrected_rejects AS FROM warehouse.rejected_rows LIMIT 0",
]

_OLDER = """
SELECT delivery_id, delivered_at, kind, sha256, read_with, read_conditions, source
FROM warehouse.deliveries
WHERE status = 'merged'
    AND (delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)
    AND EXISTS (FROM open_skus)
ORDER BY delivered_at DESC, delivery_id DESC
"""

# The skus of which an older delivery may have the replacement: not if its rows are older than the
# last deletion of the sku.
_STILL_OPEN = """
SELECT sku
FROM open_skus
ANTI JOIN replacements USING (sku)
ANTI JOIN (
    SELECT sku FROM tombstones
    WHERE (delivered_at, delivery_id) > ($delivered_at::TIMESTAMP, $delivery_id)
) AS deleted_later USING (sku)
WHERE NOT has_product
"""

_ADD_REPLACEMENTS = f"""
INSERT INTO replacements
SELECT {COLUMN_LIST}, $delivery_id, $delivered_at, row_number
FROM winners SEMI JOIN ({_STILL_OPEN}) AS still_open USING (sku)
"""

# The skus that a corrected delivery holds now become open, too. Only the last deletion of a sku can
# hide an older row of it.
_CORRECT = [
    """
INSERT INTO open_skus
SELECT sku, false FROM warehouse.products WHERE delivery_id = $delivery_id
    AND sku NOT IN (SELECT sku FROM open_skus)
""",
    """
INSERT INTO tombstones
FROM warehouse.deletions SEMI JOIN open_skus USING (sku) ANTI JOIN tombstones USING (sku)
WHERE delivery_id <> $reverted
""",
    "INSERT INTO corrected VALUES ($delivery_id)",
    """
INSERT INTO corrected_rejects
SELECT $delivery_id, row_number, byte_start, byte_end, reason, detail, raw FROM rejects
""",
    f"""
INSERT INTO replacements
SELECT {COLUMN_LIST}, $delivery_id, $delivered_at, row_number
FROM winners
ANTI JOIN replacements USING (sku)
ANTI JOIN (
    SELECT sku FROM (
        SELECT sku, delivered_at, delivery_id FROM tombstones
        UNION ALL
        SELECT sku, delivered_at, delivery_id FROM warehouse.deletions
        WHERE delivery_id <> $reverted
        UNION ALL
        SELECT sku, delivered_at, delivery_id FROM warehouse.products
        WHERE delivery_id <> $reverted AND delivery_id NOT IN (FROM corrected)
    )
    WHERE (delivered_at, delivery_id) > ($delivered_at::TIMESTAMP, $delivery_id)
) AS newer USING (sku)
""",
]

_COUNTS = """
SELECT
    count(*) FILTER (product.sku IS NULL),
    count(*) FILTER (product.name <> winner.name OR product.description <> winner.description),
    count(*) FILTER (product.name = winner.name AND product.description = winner.description),
    (SELECT count(*) FROM winners) - count(*)
FROM replacements AS winner LEFT JOIN warehouse.products AS product USING (sku)
WHERE winner.delivery_id = $delivery_id
"""

_ADD_TOMBSTONES = """
INSERT INTO tombstones
SELECT sku, $delivery_id, $delivered_at
FROM skus_to_delete
SEMI JOIN open_skus USING (sku)
ANTI JOIN tombstones USING (sku)
"""

_CHANGED_NAMES = """
CREATE OR REPLACE TABLE changed_names AS
SELECT name, sum(change)::BIGINT AS change
FROM (
    SELECT name, -1 AS change FROM warehouse.products
    WHERE delivery_id = $delivery_id OR delivery_id IN (FROM corrected)
        OR sku IN (SELECT sku FROM replacements)
    UNION ALL
    SELECT name, 1 FROM replacements
)
GROUP BY name
HAVING sum(change) <> 0
"""

_UNAVAILABLE = (
    "Rows that it may have had when {delivery_id} was reverted are lost, because its bytes are "
    "pruned. Land its file again, with the time that it had, to restore them: {land_again}"
)

_REMOVE = [
    """
DELETE FROM warehouse.product_rows
WHERE ledger_number IN (
        SELECT ledger_number FROM warehouse.deliveries
        WHERE delivery_id = $delivery_id OR delivery_id IN (FROM corrected)
    )
    OR sku IN (SELECT sku FROM replacements)
""",
    "DELETE FROM warehouse.deletions WHERE delivery_id = $delivery_id",
]

_INSERT = [
    f"""
INSERT INTO warehouse.product_rows
SELECT {COLUMN_LIST}, ledger_number, row_number
FROM replacements JOIN warehouse.deliveries USING (delivery_id)
""",
    "INSERT INTO warehouse.deletions FROM tombstones ANTI JOIN warehouse.deletions USING (sku)",
    "INSERT INTO warehouse.rejected_rows FROM corrected_rejects",
]

_PLANNED_CHANGES = """
SELECT
    (SELECT count(*) FROM warehouse.products WHERE delivery_id = $delivery_id),
    (SELECT count(*) FROM warehouse.deletions WHERE delivery_id = $delivery_id),
    (SELECT count(*) FROM replacements)
"""

_REPEATED = """
SELECT count(*) - count(DISTINCT sku) FROM warehouse.products
WHERE sku IN (SELECT sku FROM open_skus UNION ALL SELECT sku FROM replacements)
"""


@dataclass(frozen=True)
class ReversalPlan:
    """The changes of a reversal in numbers.

    Attributes:
        products: products that the delivery holds, which are removed.
        deletions: deletions of the delivery, which are removed.
        replacements: products of older deliveries that take effect.
    """

    products: int
    deletions: int
    replacements: int

    @property
    def skus(self) -> int:
        """The number of skus to look for in older deliveries."""
        return self.products + self.deletions


@dataclass(frozen=True)
class OlderDelivery:
    """A merged delivery that is older than the reverted one, by its ledger entry."""

    delivery_id: str
    delivered_at: datetime
    kind: str
    sha256: str
    read_with: str | None
    read_conditions: str | None
    source: str | None

    @property
    def label(self) -> str:
        """A short name for people."""
        return label_of(self.delivery_id, self.source or "")


def plan_reversal(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> list[OlderDelivery]:
    """Find the skus that a delivery has won or deleted; return the older deliveries, newest first.

    Each of these may have replacements.
    """
    for statement in _BEGIN:
        connection.execute(statement, {"delivery_id": delivery.delivery_id})
    for statement in _EMPTY:
        connection.execute(statement)
    found = connection.execute(_OLDER, _order_of(delivery))
    return [OlderDelivery(*row) for row in found.fetchall()]


def may_replace(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, older: OlderDelivery
) -> bool:
    """Return whether an older delivery may have a replacement that is still missing."""
    if older.kind == Kind.DELETION:
        return delivery.kind is Kind.DELETION  # Only a deletion can hide a deletion.
    return connection.execute(_STILL_OPEN + "LIMIT 1", _order_of(older)).fetchone() is not None


def add_replacements(connection: duckdb.DuckDBPyConnection, older: OlderDelivery) -> None:
    """Add the rows of open skus from an older delivery that has just been read."""
    connection.execute(_ADD_REPLACEMENTS, _order_of(older))


def correct(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, older: OlderDelivery
) -> RowCounts:
    """Replace all rows of an older delivery by those that have just been read of it.

    The skus that the older delivery holds now become open, too. Return its rows by fate, compared
    with the present products.
    """
    this = _order_of(older) | {"reverted": delivery.delivery_id}
    for statement in _CORRECT:
        names = [name for name in this if f"${name}" in statement]
        connection.execute(statement, {name: this[name] for name in names})
    found = connection.execute(_COUNTS, {"delivery_id": older.delivery_id})
    inserted, updated, unchanged, stale = found.fetchall()[0]
    return RowCounts(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale)


def add_tombstones(connection: duckdb.DuckDBPyConnection, older: OlderDelivery) -> None:
    """Add the deletions of open skus from an older deletion that has just been read."""
    connection.execute(_ADD_TOMBSTONES, _order_of(older))


def planned_changes(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> ReversalPlan:
    """Return the changes of the reversal with the replacements that were found so far."""
    this = {"delivery_id": delivery.delivery_id}
    return ReversalPlan(*connection.execute(_PLANNED_CHANGES, this).fetchall()[0])


def apply_reversal(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    why: str,
    unavailable: Sequence[OlderDelivery],
    corrected: Sequence[tuple[Delivery, LedgerEntry]],
) -> LedgerEntry:
    """Remove a delivery, merged or not, and insert the replacements, whole or not at all.

    The unavailable deliveries are pruned, and may have had replacements. They are marked as
    unmerged, so that they are merged when they land again. The corrected ones get new entries. The
    entry of the delivery has `why` as its error.

    Raises:
        WarehouseInconsistentError: an invariant would break. Nothing was changed.
    """
    this = {"delivery_id": delivery.delivery_id}
    before = entry_of(connection, delivery)
    entry = unmerged_entry(delivery.delivery_id, Status.REVERTED, why, before)
    connection.execute(_CHANGED_NAMES, this)
    with transaction(connection):
        for statement in _REMOVE:
            connection.execute(statement, this)
        corrected_ids = [older.delivery_id for older, _ in corrected]
        delete_rejects(connection, [delivery.delivery_id, *corrected_ids])
        for statement in _INSERT:
            connection.execute(statement)
        apply_changed_names(connection, product_count(connection))
        for older in unavailable:
            lost = _UNAVAILABLE.format(delivery_id=delivery.delivery_id, land_again=LAND_AGAIN)
            mark_unmerged(connection, older.delivery_id, lost)
        record(connection, [(delivery, entry), *corrected])
        if connection.execute(_REPEATED).fetchall()[0][0]:
            msg = f"{delivery.delivery_id}: without it, products would have a sku twice."
            raise WarehouseInconsistentError(msg)
    return entry


def _order_of(delivery: Delivery | OlderDelivery) -> dict[str, object]:
    return {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
