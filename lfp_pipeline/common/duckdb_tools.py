"""DuckDB connections: attached databases, transactions and checkpoints.

A checkpoint moves the write-ahead log into the database file. It is made when the log has grown,
not after each merge, because it writes anew every row group that was touched. A thousand rows that
change all over twenty million touch all of them, which takes longer than everything else about
them; their log is a few hundred kilobytes, and read in no time by whoever opens the database next.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

_LARGE_LOG_BYTES = 16 << 20

# DuckDB compares this with a guess, a hundred times too high for scattered rows, of what a commit
# will log. A commit that exceeds it is better off without a log.
_LARGE_COMMIT = "128MB"


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


def checkpoint_seldom(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep DuckDB from a checkpoint at each end of a connection, and after most commits."""
    connection.execute(f"SET checkpoint_threshold = '{_LARGE_COMMIT}'")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")


def logs_of(database: Path) -> Sequence[Path]:
    """The write-ahead log of a database; more than one after a checkpoint that was killed."""
    return sorted(database.parent.glob(f"{database.name}.wal*"))


def checkpoint_if_due(
    connection: duckdb.DuckDBPyConnection, name: str, database: Path, log: logging.Logger
) -> None:
    """Make a checkpoint of the attached database of that name, if its log has grown."""
    if sum(log.stat().st_size for log in logs_of(database)) > _LARGE_LOG_BYTES:
        checkpoint(connection, name, log)


def checkpoint(connection: duckdb.DuckDBPyConnection, name: str, log: logging.Logger) -> None:
    """Make a checkpoint of an attached database: what was replaced in it is free space then.

    Should it fail, nothing is lost: what was committed is in the log.
    """
    try:
        connection.execute(f"CHECKPOINT {name}")
    except duckdb.Error as error:
        log.warning("The write-ahead log could not be put into the database: %s", error)
