"""A transaction that either commits or leaves no trace."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block; roll back on any exception."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        # A failed commit has rolled back already. Whatever this says, the first error matters.
        with suppress(duckdb.Error):
            connection.rollback()
        raise
