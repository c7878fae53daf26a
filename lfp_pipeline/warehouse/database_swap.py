"""A database that takes the place of another: how the two compare, and what is taken over.

The raw zone determines products, counts and deletions. The history of attempts and of operations
exists in the old database only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import all_entries, mark_unmerged

# By table, what names a row in it. These are a function of the raw zone.
_KEYS = {"products": "sku", "name_counts": "name", "deletions": "sku"}

_DIGEST = "SELECT count(*), coalesce(sum(hash(one)), 0) FROM warehouse.{table} AS one"

_DIFFERENCES = """
SELECT count(*), min(key, 5)
FROM (SELECT {key} AS key, hash(one) AS digest FROM warehouse.{table} AS one) AS these
FULL JOIN (SELECT {key} AS key, hash(one) AS digest FROM other.{table} AS one) AS others
    USING (key)
WHERE these.digest IS DISTINCT FROM others.digest
"""

# Products of some deliveries that the other database has, and this one otherwise, though no newer
# delivery or deletion tells why.
_OTHERWISE = """
SELECT DISTINCT past.delivery_id
FROM other.products AS past
LEFT JOIN warehouse.products AS present USING (sku)
LEFT JOIN warehouse.deletions AS deleted USING (sku)
WHERE past.delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))
    AND (deleted.sku IS NULL
        OR (deleted.delivered_at, deleted.delivery_id) < (past.delivered_at, past.delivery_id))
    AND CASE
        WHEN present.sku IS NULL THEN true
        WHEN present.delivery_id = past.delivery_id THEN
            (present.name, present.description, present.row_number)
            <> (past.name, past.description, past.row_number)
        ELSE (present.delivered_at, present.delivery_id) < (past.delivered_at, past.delivery_id)
    END
ORDER BY ALL
"""

# What the raw zone does not tell: how often something was tried, the accounts of what was pruned,
# and what operators have done. Who tells a loss by the attempts must never see them get fewer.
_INHERIT = [
    """
UPDATE warehouse.deliveries AS present SET attempts = present.attempts + past.attempts
FROM old.deliveries AS past WHERE past.delivery_id = present.delivery_id
""",
    """
UPDATE warehouse.deliveries AS present
SET read_with = past.read_with, read_conditions = past.read_conditions
FROM old.deliveries AS past
WHERE past.delivery_id = present.delivery_id AND present.status IN ('reverted', 'failed')
""",
    """
INSERT INTO warehouse.rejected_rows BY NAME
FROM old.rejected_rows ANTI JOIN warehouse.deliveries USING (delivery_id)
""",
    """
INSERT INTO warehouse.deliveries BY NAME
FROM old.deliveries ANTI JOIN warehouse.deliveries USING (delivery_id)
""",
    "INSERT INTO warehouse.operations BY NAME FROM old.operations",
]

_INHERIT_ID = """
UPDATE warehouse.database_identity SET database_id = (FROM old.database_identity)
"""


@dataclass(frozen=True)
class WarehouseSnapshot:
    """What a warehouse holds.

    Attributes:
        entries: of all deliveries, by id.
        needed: the ids of the deliveries that products and deletions came with.
        digests: by table, of its rows, in any order: the same for the same rows.
    """

    entries: dict[str, LedgerEntry]
    needed: frozenset[str]
    digests: Mapping[str, tuple[int, int]]

    @property
    def products(self) -> int:
        """How many there are."""
        return self.digests["products"][0]


def take_snapshot(connection: duckdb.DuckDBPyConnection) -> WarehouseSnapshot:
    """What the attached warehouse holds."""
    return WarehouseSnapshot(
        entries=all_entries(connection),
        needed=needed_deliveries(connection),
        digests={
            table: connection.execute(_DIGEST.format(table=table)).fetchall()[0] for table in _KEYS
        },
    )


def differing_rows(
    connection: duckdb.DuckDBPyConnection, table: str, other: Backend
) -> tuple[int, Sequence[str]]:
    """How many rows of a table another database has not, or has in another way; some, by key."""
    with other.attached_to_read(connection, "other"):
        statement = _DIFFERENCES.format(table=table, key=_KEYS[table])
        number, some = connection.execute(statement).fetchall()[0]
        return number, some or []


def read_differently(
    connection: duckdb.DuckDBPyConnection, other: Backend, delivery_ids: Sequence[str]
) -> list[str]:
    """Of some deliveries, those whose products another database has otherwise."""
    with other.attached_to_read(connection, "other"):
        found = connection.execute(_OTHERWISE, {"delivery_ids": list(delivery_ids)})
        return [delivery_id for (delivery_id,) in found.fetchall()]


def read_history(connection: duckdb.DuckDBPyConnection) -> None:
    """Read all that is to be taken over from the attached warehouse.

    Raises:
        duckdb.Error: it cannot be read.
    """
    for table in ("rejected_rows", "deliveries", "operations"):
        connection.execute(_DIGEST.format(table=table))


def copy_history(
    connection: duckdb.DuckDBPyConnection,
    old: Backend,
    *,
    unmerged: Mapping[str, str],
    same: bool,
) -> None:
    """Take over from an old database what the raw zone does not tell.

    Args:
        connection: with the new one attached.
        old: that database.
        unmerged: the ids of deliveries that were merged and count as that no longer, and why.
        same: whether it is the same database. To another one, no outcome counts that was noted.
    """
    with old.attached_to_read(connection, "old"):
        for statement in _INHERIT:
            connection.execute(statement)
        if same:
            connection.execute(_INHERIT_ID)
    for delivery_id, why in unmerged.items():
        mark_unmerged(connection, delivery_id, why)
