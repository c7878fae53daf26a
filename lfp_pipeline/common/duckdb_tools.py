"""DuckDB connections: attached databases, transactions and checkpoints.

A checkpoint moves the write-ahead log into the database file. Checkpoints are deferred until the
log has grown, because a checkpoint rewrites every row group that changed. A thousand changes spread
over twenty million rows touch all row groups, and rewriting these takes longer than the merge; the
log of the changes is a few hundred kilobytes, which the next connection reads at once.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGE_LOG_BYTES = 16 << 20

# These are parts of DuckDB's messages.
_LOCK_CONFLICT = "Could not set lock on file"
_OPEN_IN_THIS_PROCESS = "Unique file handle conflict"

# DuckDB compares this with its estimate of the log of a commit, which is a hundred times too high
# for scattered rows. A commit above the threshold is cheaper without a log.
_LARGE_COMMIT = "128MB"


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block, and roll back on any exception."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        # A failed commit has rolled back already; the first error is the one to report.
        with suppress(duckdb.Error):
            connection.rollback()
        raise


def attach(
    connection: duckdb.DuckDBPyConnection,
    database: Path,
    name: str,
    *,
    to_read: bool = False,
    storage_version: str | None = None,
) -> None:
    """Attach a database file under a name; a missing file is created, unless it is read only.

    Args:
        storage_version: the oldest version of DuckDB that can read a file that is created; None:
            the version that this DuckDB chooses.

    Raises:
        duckdb.Error: the file cannot be opened.
    """
    path = str(database).replace("'", "''")  # DuckDB 1.5 takes no bound parameter here.
    options = "TYPE duckdb, READ_ONLY" if to_read else "TYPE duckdb"
    if storage_version is not None:
        options += f", STORAGE_VERSION '{storage_version}'"
    connection.execute(f"ATTACH '{path}' AS {name} ({options})")


@contextmanager
def attached_read_only(
    connection: duckdb.DuckDBPyConnection, database: Path, name: str
) -> Iterator[None]:
    """Attach a database file under a name for the block, read only."""
    attach(connection, database, name, to_read=True)
    try:
        yield
    finally:
        connection.execute(f"DETACH {name}")


def defer_checkpoints(connection: duckdb.DuckDBPyConnection) -> None:
    """Disable the checkpoint at the end of a connection and after all but large commits."""
    connection.execute(f"SET checkpoint_threshold = '{_LARGE_COMMIT}'")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")


def write_ahead_logs(database: Path) -> Sequence[Path]:
    """Return the write-ahead logs of a database: at most one, unless a checkpoint was killed."""
    return sorted(database.parent.glob(f"{database.name}.wal*"))


def checkpoint_if_due(
    connection: duckdb.DuckDBPyConnection, database: Path, log: logging.Logger
) -> None:
    """Checkpoint the attached `warehouse` in a database file if its write-ahead log has grown."""
    if sum(log.stat().st_size for log in write_ahead_logs(database)) > _LARGE_LOG_BYTES:
        checkpoint(connection, log)


def checkpoint(connection: duckdb.DuckDBPyConnection, log: logging.Logger) -> None:
    """Checkpoint the attached database file `warehouse`, which also frees unused space.

    A failure loses nothing: the log keeps all commits.
    """
    try:
        connection.execute("CHECKPOINT warehouse")
    except duckdb.Error as error:
        log.warning("The checkpoint failed; the write-ahead log keeps all commits: %s", error)


def lock_holder(error: duckdb.Error) -> str | None:
    """Return the program that has the database open, by DuckDB's error; None: another error."""
    text = str(error)
    if _OPEN_IN_THIS_PROCESS in text:
        return f"this process itself (PID {os.getpid()})"
    if _LOCK_CONFLICT not in text:
        return None
    # DuckDB says `Conflicting lock is held in PROGRAM (PID 1) by user U. See ...`.
    _, _, holder = text.partition("held in ")
    return holder.partition(". ")[0].strip() or "unknown"


def create_from_arrays(
    connection: duckdb.DuckDBPyConnection, table: str, **columns: "NDArray[Any]"
) -> None:
    """Create a table of a workspace from arrays of equal length, or replace it."""
    connection.register("lfp_arrays", columns)
    try:
        connection.execute(f"CREATE OR REPLACE TABLE {table} AS FROM lfp_arrays")
    finally:
        connection.unregister("lfp_arrays")
