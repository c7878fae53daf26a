"""Databases that are attached to a connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


def attach(
    connection: duckdb.DuckDBPyConnection, database: Path, name: str, *, to_read: bool = False
) -> None:
    """Attach a database file under that name; one to write is made, if it is not there.

    Raises:
        duckdb.Error: it cannot be opened.
    """
    path = str(database).replace("'", "''")  # DuckDB 1.5 takes no parameter here.
    options = "TYPE duckdb, READ_ONLY" if to_read else "TYPE duckdb"
    connection.execute(f"ATTACH '{path}' AS {name} ({options})")


@contextmanager
def attached_to_read(
    connection: duckdb.DuckDBPyConnection, database: Path, name: str
) -> Iterator[None]:
    """Attach a database file under that name for the block, to be read only."""
    attach(connection, database, name, to_read=True)
    try:
        yield
    finally:
        connection.execute(f"DETACH {name}")
