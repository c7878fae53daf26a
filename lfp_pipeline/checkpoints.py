"""When the write-ahead log goes into the database file: when it has grown, not after each merge.

A checkpoint writes anew every row group that was touched. A thousand rows that change all over
twenty million touch all of them, which takes longer than everything else about them; their log is a
few hundred kilobytes, and read in no time by whoever opens the database next.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import duckdb

_LARGE_LOG_BYTES = 16 << 20

# DuckDB compares this with a guess, a hundred times too high for scattered rows, of what a commit
# will log. A commit that exceeds it is better off without a log.
_LARGE_COMMIT = "128MB"


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
