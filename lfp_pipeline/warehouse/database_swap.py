"""A rebuilt database takes the place of the old one: compares the two, and copies the history.

The raw zone determines products, counts and deletions. The numbers of attempts, the ledger entries
of pruned deliveries and the operations exist in the old database only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import all_entries, mark_unmerged

# The tables that the raw zone determines, with their keys.
_KEYS = {"products": "sku", "name_counts": "name", "deletions": "sku"}

_DIGEST = "SELECT count(*), coalesce(sum(hash(entry)), 0) FROM warehouse.{table} AS entry"

_DIFFERING_ROWS = """
SELECT count(*), min(key, 5)
FROM (SELECT {key} AS key, hash(entry) AS digest FROM warehouse.{table} AS entry) AS these
FULL JOIN (SELECT {key} AS key, hash(entry) AS digest FROM other.{table} AS entry) AS others
    USING (key)
WHERE these.digest IS DISTINCT FROM others.digest
"""

# What two databases of one raw zone have in common, whatever the order of their merges.
_COMMON = dict.fromkeys(("products", "name_counts", "deletions", "rejected_rows"), "*") | {
    "deliveries": "delivery_id, partition_key, source, sha256, size_bytes, delivered_at, status, "
    "kind, rows_read, rows_superseded, rows_rejected, blank_lines, repeated_headers, "
    "lines_above_header"
}

_DIFFERENCES = """
SELECT
    (SELECT count(*) FROM (
        SELECT {columns} FROM warehouse.{table} EXCEPT ALL SELECT {columns} FROM other.{table}
    )) + (SELECT count(*) FROM (
        SELECT {columns} FROM other.{table} EXCEPT ALL SELECT {columns} FROM warehouse.{table}
    ))
"""

# The deliveries with products of the other database that this one has differently or not at all,
# without a newer delivery or deletion that explains it.
_READ_DIFFERENTLY = """
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

# The sum of attempts must never decrease: a decrease is how lost commits are detected.
_COPY_HISTORY = [
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
SELECT * REPLACE (
    (SELECT coalesce(max(ledger_number), 0) FROM warehouse.deliveries)
        + row_number() OVER () AS ledger_number
)
FROM old.deliveries ANTI JOIN warehouse.deliveries USING (delivery_id)
""",
    "INSERT INTO warehouse.operations BY NAME FROM old.operations",
]


@dataclass(frozen=True)
class WarehouseSnapshot:
    """The content of a warehouse, in short.

    Attributes:
        entries: the ledger entries of all deliveries, by delivery id.
        needed: the ids of the deliveries that hold a row of products or of deletions.
        digests: by table, the number of rows and a digest of them; equal for equal rows in any
            order.
    """

    entries: dict[str, LedgerEntry]
    needed: frozenset[str]
    digests: Mapping[str, tuple[int, int]]

    @property
    def products(self) -> int:
        """The number of products."""
        return self.digests["products"][0]


def take_snapshot(connection: duckdb.DuckDBPyConnection) -> WarehouseSnapshot:
    """Return a snapshot of the attached warehouse."""
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
    """Return how many rows of a table differ in another database, and the keys of some."""
    with other.attached_read_only(connection, "other"):
        statement = _DIFFERING_ROWS.format(table=table, key=_KEYS[table])
        number, some = connection.execute(statement).fetchall()[0]
        return number, some or []


def differences(connection: duckdb.DuckDBPyConnection, other: Backend) -> dict[str, int]:
    """Return how many rows each table has that another database of the raw zone lacks, and back.

    Of deliveries, only those columns are compared that do not depend on the order of the merges.
    """
    with other.attached_read_only(connection, "other"):
        found = {
            table: connection.execute(_DIFFERENCES.format(table=table, columns=columns)).fetchall()
            for table, columns in _COMMON.items()
        }
    return {table: rows for table, [(rows,)] in found.items() if rows}


def read_differently(
    connection: duckdb.DuckDBPyConnection, other: Backend, delivery_ids: Sequence[str]
) -> list[str]:
    """Return those of some deliveries whose products differ in another database."""
    with other.attached_read_only(connection, "other"):
        found = connection.execute(_READ_DIFFERENTLY, {"delivery_ids": list(delivery_ids)})
        return [delivery_id for (delivery_id,) in found.fetchall()]


def read_history(connection: duckdb.DuckDBPyConnection) -> None:
    """Read all that `copy_history` copies; raise a `duckdb.Error` where that is not readable."""
    for table in ("rejected_rows", "deliveries", "operations"):
        connection.execute(_DIGEST.format(table=table))


_KEEP_ID = """
UPDATE warehouse.database_identity SET database_id = (FROM old.database_identity)
"""


def copy_history(
    connection: duckdb.DuckDBPyConnection,
    old: Backend,
    *,
    unmerged: Mapping[str, str],
    same: bool,
) -> None:
    """Copy into the attached warehouse what the raw zone does not determine.

    Deliveries that were merged may no longer count as merged; `unmerged` has their ids and reasons.
    With `same`, the warehouse gets the id of the old database. With another id, the status notes in
    the raw zone no longer count.
    """
    with old.attached_read_only(connection, "old"):
        for statement in _COPY_HISTORY:
            connection.execute(statement)
        if same:
            connection.execute(_KEEP_ID)
    for delivery_id, why in unmerged.items():
        mark_unmerged(connection, delivery_id, why)
