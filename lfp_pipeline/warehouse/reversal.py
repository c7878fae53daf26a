"""The reversal of a delivery: the tables as if it had never come.

A row that wins hides all older ones of its sku, which are in no table, but in the raw zone. So what
becomes of the skus that a delivery has won or deleted is found by reading the older deliveries
again, the newest first, until all are found. In the workspace:

    orphans      (sku, has_product): what the delivery has won or deleted; a deletion may have left
                 a sku its newer product
    tombstones   (sku, delivery_id, delivered_at): the last deletion of orphans without it
    heirs        (sku, name, description, delivery_id, delivered_at, row_number): who wins now

An older delivery may have been read with other settings. Where it is to be read with those of now,
it is corrected: it is taken out, too, and all that wins of what is read now is an heir.

    corrected    (delivery_id): of these
    corrected_rejects   (the columns of rejected_rows): theirs
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status, unmerged_entry
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.warehouse.ledger import delete_rejects, entry_of, mark_unmerged, record
from lfp_pipeline.warehouse.name_counts import apply_changed_names

_BEGIN = [
    """
CREATE OR REPLACE TABLE orphans AS
SELECT sku, product.delivery_id IS NOT NULL AS has_product
FROM (
    SELECT sku FROM warehouse.products WHERE delivery_id = $delivery_id
    UNION SELECT sku FROM warehouse.deletions WHERE delivery_id = $delivery_id
)
LEFT JOIN (FROM warehouse.products WHERE delivery_id <> $delivery_id) AS product USING (sku)
""",
    """
CREATE OR REPLACE TABLE tombstones AS
FROM warehouse.deletions SEMI JOIN orphans USING (sku) WHERE delivery_id <> $delivery_id
""",
]

_EMPTY = [
    "CREATE OR REPLACE TABLE heirs AS FROM warehouse.products LIMIT 0",
    "CREATE OR REPLACE TABLE corrected (delivery_id VARCHAR)",
    "CREATE OR REPLACE TABLE corrected_rejects AS FROM warehouse.rejected_rows LIMIT 0",
]

_OLDER = """
SELECT delivery_id, delivered_at, kind, sha256, read_with, read_conditions
FROM warehouse.deliveries
WHERE status = 'merged'
    AND (delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)
    AND EXISTS (FROM orphans)
ORDER BY delivered_at DESC, delivery_id DESC
"""

# What an older delivery may still have: of those who are older than the last deletion, none wins.
_SOUGHT = """
SELECT sku
FROM orphans
ANTI JOIN heirs USING (sku)
ANTI JOIN (
    SELECT sku FROM tombstones
    WHERE (delivered_at, delivery_id) > ($delivered_at::TIMESTAMP, $delivery_id)
) AS deleted_later USING (sku)
WHERE NOT has_product
"""

_INHERIT = f"""
INSERT INTO heirs
SELECT {COLUMN_LIST}, $delivery_id, $delivered_at, row_number
FROM winners SEMI JOIN ({_SOUGHT}) AS sought USING (sku)
"""

# What a corrected delivery holds now is to be found, too. No other deletion than the last of a sku
# can hide an older row of it.
_CORRECT = [
    """
INSERT INTO orphans
SELECT sku, false FROM warehouse.products WHERE delivery_id = $delivery_id
    AND sku NOT IN (SELECT sku FROM orphans)
""",
    """
INSERT INTO tombstones
FROM warehouse.deletions SEMI JOIN orphans USING (sku) ANTI JOIN tombstones USING (sku)
WHERE delivery_id <> $reverted
""",
    "INSERT INTO corrected VALUES ($delivery_id)",
    """
INSERT INTO corrected_rejects
SELECT $delivery_id, row_number, byte_start, byte_end, reason, detail, raw FROM rejects
""",
    f"""
INSERT INTO heirs
SELECT {COLUMN_LIST}, $delivery_id, $delivered_at, row_number
FROM winners
ANTI JOIN heirs USING (sku)
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

_FATES = """
SELECT
    count(*) FILTER (product.sku IS NULL),
    count(*) FILTER (product.name <> heirs.name OR product.description <> heirs.description),
    count(*) FILTER (product.name = heirs.name AND product.description = heirs.description),
    (SELECT count(*) FROM winners) - count(*)
FROM heirs LEFT JOIN warehouse.products AS product USING (sku)
WHERE heirs.delivery_id = $delivery_id
"""

_BURY = """
INSERT INTO tombstones
SELECT sku, $delivery_id, $delivered_at
FROM doomed
SEMI JOIN orphans USING (sku)
ANTI JOIN tombstones USING (sku)
"""

_CHANGED_NAMES = """
CREATE OR REPLACE TABLE changed_names AS
SELECT name, sum(change)::BIGINT AS change
FROM (
    SELECT name, -1 AS change FROM warehouse.products
    WHERE delivery_id = $delivery_id OR delivery_id IN (FROM corrected)
        OR sku IN (SELECT sku FROM heirs)
    UNION ALL
    SELECT name, 1 FROM heirs
)
GROUP BY name
HAVING sum(change) <> 0
"""

_FORGONE = (
    "What it may have had when {delivery_id} was reverted is gone, because its bytes are not kept. "
    "Land its file again, and it counts again."
)

_TAKE_OUT = [
    """
DELETE FROM warehouse.products
WHERE delivery_id = $delivery_id OR delivery_id IN (FROM corrected)
    OR sku IN (SELECT sku FROM heirs)
""",
    "DELETE FROM warehouse.deletions WHERE delivery_id = $delivery_id",
]

_PUT_IN = [
    "INSERT INTO warehouse.products FROM heirs",
    "INSERT INTO warehouse.deletions FROM tombstones ANTI JOIN warehouse.deletions USING (sku)",
    "INSERT INTO warehouse.rejected_rows FROM corrected_rejects",
]

_OUTLOOK = """
SELECT
    (SELECT count(*) FROM warehouse.products WHERE delivery_id = $delivery_id),
    (SELECT count(*) FROM warehouse.deletions WHERE delivery_id = $delivery_id),
    (SELECT count(*) FROM heirs)
"""

_REPEATED = """
SELECT count(*) - count(DISTINCT sku) FROM warehouse.products
WHERE sku IN (SELECT sku FROM orphans UNION ALL SELECT sku FROM heirs)
"""


@dataclass(frozen=True)
class ReversalPlan:
    """What a reversal changes: how many products and deletions go, and how many heirs come."""

    products: int
    deletions: int
    replacements: int

    @property
    def skus(self) -> int:
        """How many skus are to be looked for in older deliveries."""
        return self.products + self.deletions


@dataclass(frozen=True)
class OlderDelivery:
    """An older delivery that is merged, as the ledger has it."""

    delivery_id: str
    delivered_at: datetime
    kind: str
    sha256: str
    read_with: str | None
    read_conditions: str | None


def plan_reversal(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> list[OlderDelivery]:
    """Find what a delivery has won or deleted.

    Returns:
        The older deliveries that may have heirs, newest first.
    """
    for statement in _BEGIN:
        connection.execute(statement, {"delivery_id": delivery.delivery_id})
    for statement in _EMPTY:
        connection.execute(statement)
    return [OlderDelivery(*row) for row in connection.execute(_OLDER, _age(delivery)).fetchall()]


def may_replace(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, older: OlderDelivery
) -> bool:
    """Whether an older delivery may have what is still to be found."""
    if older.kind == Kind.DELETION:
        return delivery.kind is Kind.DELETION  # Who deletes nothing has hidden no deletion.
    return connection.execute(_SOUGHT + "LIMIT 1", _age(older)).fetchone() is not None


def add_replacements(connection: duckdb.DuckDBPyConnection, older: OlderDelivery) -> None:
    """Of an older delivery that was just read, take the rows that are sought."""
    connection.execute(_INHERIT, _age(older))


def correct(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, older: OlderDelivery
) -> RowCounts:
    """Have an older delivery that was just read be what was read, whatever it was before.

    Args:
        connection: to the workspace.
        delivery: what is reverted.
        older: what was read. What it holds now is sought from here on, too.

    Returns:
        The fates of its rows beside the products of now.
    """
    this = _age(older) | {"reverted": delivery.delivery_id}
    for statement in _CORRECT:
        names = [name for name in this if f"${name}" in statement]
        connection.execute(statement, {name: this[name] for name in names})
    found = connection.execute(_FATES, {"delivery_id": older.delivery_id})
    inserted, updated, unchanged, stale = found.fetchall()[0]
    return RowCounts(inserted=inserted, updated=updated, unchanged=unchanged, stale=stale)


def add_tombstones(connection: duckdb.DuckDBPyConnection, older: OlderDelivery) -> None:
    """Of an older deletion that was just read, take the skus that are sought."""
    connection.execute(_BURY, _age(older))


def planned_changes(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> ReversalPlan:
    """What the reversal will change, with the heirs that were found."""
    this = {"delivery_id": delivery.delivery_id}
    return ReversalPlan(*connection.execute(_OUTLOOK, this).fetchall()[0])


def apply_reversal(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    told: str,
    unavailable: Sequence[OlderDelivery],
    corrected: Sequence[tuple[Delivery, LedgerEntry]],
) -> LedgerEntry:
    """Take a delivery out of the attached warehouse, and put the heirs in: whole or not at all.

    Args:
        connection: to a workspace with the heirs.
        delivery: what is taken back, merged or not.
        told: what the ledger says of it then.
        unavailable: older deliveries that may have had heirs and are not kept any more. They do not
            count as merged any longer: so they are merged anew, should they land again.
        corrected: the older deliveries that were corrected, with their accounts.

    Raises:
        WarehouseInconsistentError: a law would not hold. Nothing was changed.
    """
    this = {"delivery_id": delivery.delivery_id}
    before = entry_of(connection, delivery)
    account = unmerged_entry(delivery.delivery_id, Status.REVERTED, told, before)
    connection.execute(_CHANGED_NAMES, this)
    with transaction(connection):
        for statement in _TAKE_OUT:
            connection.execute(statement, this)
        delete_rejects(
            connection, [delivery.delivery_id, *(one.delivery_id for one, _ in corrected)]
        )
        for statement in _PUT_IN:
            connection.execute(statement)
        apply_changed_names(connection)
        for older in unavailable:
            told_of_it = _FORGONE.format(delivery_id=delivery.delivery_id)
            mark_unmerged(connection, older.delivery_id, told_of_it)
        record(connection, [(delivery, account), *corrected])
        if connection.execute(_REPEATED).fetchall()[0][0]:
            msg = f"{delivery.delivery_id}: without it, a sku would be in products twice."
            raise WarehouseInconsistentError(msg)
    return account


def _age(delivery: Delivery | OlderDelivery) -> dict[str, object]:
    return {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
