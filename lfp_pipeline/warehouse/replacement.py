"""A database that takes the place of another, whole, by a rename."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lfp_pipeline.landing.durable import sync_folder
from lfp_pipeline.warehouse.account import Account
from lfp_pipeline.warehouse.ledger import all_accounts

_PRODUCTS = (
    "SELECT count(*), coalesce(bit_xor(hash(product)), 0) FROM warehouse.products AS product"
)

_COUNTS = "SELECT coalesce(bit_xor(hash(counted)), 0) FROM warehouse.name_counts AS counted"

_DELIVERIES_OF_PRODUCTS = "SELECT DISTINCT delivery_id FROM warehouse.products"

# What the raw zone does not tell: the accounts of what was pruned, what operators have done, and
# the id that the outcomes name.
_INHERIT = [
    """
INSERT INTO warehouse.rejected_rows BY NAME
FROM old.rejected_rows ANTI JOIN warehouse.deliveries USING (delivery_id)
""",
    """
INSERT INTO warehouse.deliveries BY NAME
FROM old.deliveries ANTI JOIN warehouse.deliveries USING (delivery_id)
""",
    "INSERT INTO warehouse.operations BY NAME FROM old.operations",
    "UPDATE warehouse.database_identity SET database_id = (FROM old.database_identity)",
]


@dataclass(frozen=True)
class Contents:
    """What a warehouse holds.

    Attributes:
        accounts: of all deliveries, by id.
        needed: the ids of the deliveries that products came with.
        products: how many there are.
        digest: of products and counts, in any order: the same for the same rows.
    """

    accounts: dict[str, Account]
    needed: frozenset[str]
    products: int
    digest: tuple[int, int]


def contents(connection: duckdb.DuckDBPyConnection) -> Contents:
    """What the attached warehouse holds."""
    products, digest = connection.execute(_PRODUCTS).fetchall()[0]
    (counts_digest,) = connection.execute(_COUNTS).fetchall()[0]
    needed = connection.execute(_DELIVERIES_OF_PRODUCTS).fetchall()
    return Contents(
        accounts=all_accounts(connection),
        needed=frozenset(delivery_id for (delivery_id,) in needed),
        products=products,
        digest=(digest, counts_digest),
    )


def inherit_records(connection: duckdb.DuckDBPyConnection, old: Path) -> None:
    """Take over from an old database what the raw zone does not tell."""
    quoted = str(old).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS old (READ_ONLY)")
    try:
        for statement in _INHERIT:
            connection.execute(statement)
    finally:
        connection.execute("DETACH old")


def log_of(database: Path) -> Path:
    """The write-ahead log of a database file."""
    return database.with_name(database.name + ".wal")


def put_aside(database: Path, name: str, log: logging.Logger) -> None:
    """Give a database that cannot be read another name, with its write-ahead log."""
    for path in (log_of(database), database):
        if path.exists():
            aside = path.with_name(path.name.replace(database.name, f"{database.name}.{name}"))
            log.warning("%s is kept as %s", path.name, aside.name)
            path.rename(aside)


def take_the_place_of(old: Path, new: Path) -> None:
    """Put a database in the place of another; neither has a write-ahead log.

    Raises:
        OSError: it cannot be done. The old one is where it was.
    """
    for path in (old, new):
        if log_of(path).exists():
            msg = f"{log_of(path)} is still there."
            raise OSError(msg)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(old)
    sync_folder(old.parent)
