"""Another database beside the one that is worked on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


@contextmanager
def attached_to_read(
    connection: duckdb.DuckDBPyConnection, database: Path, name: str
) -> Iterator[None]:
    """Attach a database file under that name for the block, to be read only."""
    quoted = str(database).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS {name} (READ_ONLY)")
    try:
        yield
    finally:
        connection.execute(f"DETACH {name}")
