"""A database that takes the place of another, whole, by a rename."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lfp_pipeline.common.atomic_files import sync_folder
from lfp_pipeline.common.duckdb_tools import attached_read_only, write_ahead_logs
from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import all_accounts, mark_unmerged

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
        accounts: of all deliveries, by id.
        needed: the ids of the deliveries that products and deletions came with.
        digests: by table, of its rows, in any order: the same for the same rows.
    """

    accounts: dict[str, LedgerEntry]
    needed: frozenset[str]
    digests: Mapping[str, tuple[int, int]]

    @property
    def products(self) -> int:
        """How many there are."""
        return self.digests["products"][0]


def contents(connection: duckdb.DuckDBPyConnection) -> WarehouseSnapshot:
    """What the attached warehouse holds."""
    return WarehouseSnapshot(
        accounts=all_accounts(connection),
        needed=needed_deliveries(connection),
        digests={
            table: connection.execute(_DIGEST.format(table=table)).fetchall()[0] for table in _KEYS
        },
    )


def differences(
    connection: duckdb.DuckDBPyConnection, table: str, other: Path
) -> tuple[int, Sequence[str]]:
    """How many rows of a table another database has not, or has in another way; some, by key."""
    with attached_read_only(connection, other, "other"):
        statement = _DIFFERENCES.format(table=table, key=_KEYS[table])
        number, some = connection.execute(statement).fetchall()[0]
        return number, some or []


def otherwise_in(
    connection: duckdb.DuckDBPyConnection, other: Path, delivery_ids: Sequence[str]
) -> list[str]:
    """Of some deliveries, those whose products another database has otherwise."""
    with attached_read_only(connection, other, "other"):
        found = connection.execute(_OTHERWISE, {"delivery_ids": list(delivery_ids)})
        return [delivery_id for (delivery_id,) in found.fetchall()]


def read_records(connection: duckdb.DuckDBPyConnection) -> None:
    """Read all that is to be taken over from the attached warehouse.

    Raises:
        duckdb.Error: it cannot be read.
    """
    for table in ("rejected_rows", "deliveries", "operations"):
        connection.execute(_DIGEST.format(table=table))


def copy_history(
    connection: duckdb.DuckDBPyConnection,
    old: Path,
    *,
    given_up: Mapping[str, str],
    same: bool,
) -> None:
    """Take over from an old database what the raw zone does not tell.

    Args:
        connection: with the new one attached.
        old: the file.
        given_up: the ids of deliveries that were merged and count as that no longer, and why.
        same: whether it is the same database. To another one, no outcome counts that was noted.
    """
    with attached_read_only(connection, old, "old"):
        for statement in _INHERIT:
            connection.execute(statement)
        if same:
            connection.execute(_INHERIT_ID)
    for delivery_id, why in given_up.items():
        mark_unmerged(connection, delivery_id, why)


def move_aside(database: Path, name: str, log: logging.Logger) -> None:
    """Give a database that cannot be read another name, with its write-ahead log."""
    for path in (*write_ahead_logs(database), database):
        if path.exists():
            aside = path.with_name(path.name.replace(database.name, f"{database.name}.{name}"))
            log.warning("%s is kept as %s", path.name, aside.name)
            path.rename(aside)


def swap_in(old: Path, new: Path) -> None:
    """Put a database in the place of another; neither has a write-ahead log.

    Raises:
        OSError: it cannot be done. The old one is where it was.
    """
    for path in (old, new):
        if logs := write_ahead_logs(path):
            msg = f"{logs[0]} is still there."
            raise OSError(msg)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(old)
    sync_folder(old.parent)
