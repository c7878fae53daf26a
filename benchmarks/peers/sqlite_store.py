"""Tables and statements of the tools that store in SQLite.

One transaction for a load, so one wait for the disk, with SQLite's durable defaults. The cache
holds the index even of large files, so that skus in random order do not go to the disk.
"""

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.peers.peer import Peer

UPSERT = """
INSERT INTO products (name, sku, description) VALUES (?, ?, ?)
ON CONFLICT (sku) DO UPDATE SET name = excluded.name, description = excluded.description
"""

_TABLES = """
CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, name TEXT, description TEXT);
CREATE TABLE IF NOT EXISTS name_counts (name TEXT, no_of_products INTEGER);
"""

_CACHE_KB = 2_000_000


@contextmanager
def transaction(folder: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the tables, in a transaction that is committed at the end."""
    with closing(sqlite3.connect(folder / "products.sqlite")) as connection:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        connection.execute("PRAGMA temp_store = memory")
        connection.executescript(_TABLES)
        yield connection
        connection.commit()


def count_names(connection: sqlite3.Connection) -> None:
    """Recount all names."""
    connection.execute("DELETE FROM name_counts")
    connection.execute("INSERT INTO name_counts SELECT name, count(*) FROM products GROUP BY name")


class SqlitePeer(Peer):
    """A tool that stores in an SQLite file."""

    def dump(self, products_csv: Path, counts_csv: Path) -> None:
        with closing(sqlite3.connect(self.folder / "products.sqlite")) as connection:
            for query, path in (
                ("SELECT sku, name, description FROM products", products_csv),
                ("SELECT name, no_of_products FROM name_counts", counts_csv),
            ):
                cursor = connection.execute(query)
                with path.open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow([column[0] for column in cursor.description])
                    writer.writerows(cursor)
