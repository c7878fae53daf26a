"""Opens a DuckDB file: waits for another program, and names what is wrong with the file."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from lfp_pipeline.common.duckdb_tools import attach, lock_holder
from lfp_pipeline.errors import (
    WarehouseBusyError,
    WarehouseCorruptError,
    WarehouseInconsistentError,
    hint_for,
)

_RETRY_SECONDS = 0.2

# These are parts of DuckDB's messages.
_FOREIGN_LOG = "WAL checkpoint iteration does not match"
_NEWER = "we can only read versions between"
_CORRUPT = "Corrupt database file"
_UNREADABLE = (
    "not a valid DuckDB database file",
    "Could not read enough bytes",
    "Is a directory",
    "Failure while replaying WAL file",
)


def attach_when_free(
    connection: duckdb.DuckDBPyConnection,
    database: Path,
    wait_seconds: float,
    log: logging.Logger,
    *,
    to_read: bool = False,
) -> None:
    """Attach a database file as `warehouse`, as soon as no other program has the file open.

    Raises:
        WarehouseBusyError: another program had the file open for longer than `wait_seconds`.
        WarehouseInconsistentError: the write-ahead log beside the file belongs to another file.
    """
    started = time.monotonic()
    is_logged = False
    while holder := _attach_or_name_holder(connection, database, to_read=to_read):
        waited = time.monotonic() - started
        if waited >= wait_seconds:
            msg = (
                f"{database} is open in another program: {holder}. Gave up after {waited:.0f} s "
                "(setting LFP_OTHER_PROCESS_WAIT_SECONDS). Close it there, and run this again; to "
                "read, open the published copy."
            )
            raise WarehouseBusyError(msg)
        if not is_logged:
            log.warning("%s is open in %s; waiting for it", database.name, holder)
            is_logged = True
        time.sleep(_RETRY_SECONDS)


def _attach_or_name_holder(
    connection: duckdb.DuckDBPyConnection, database: Path, *, to_read: bool
) -> str | None:
    """Attach a database and return None; or return the program that has the file open."""
    try:
        attach(connection, database, "warehouse", to_read=to_read)
    except duckdb.Error as error:
        text = str(error)
        if _FOREIGN_LOG in text:
            msg = (
                f"{database} and its write-ahead log {database.name}.wal do not belong together. "
                "Put both back from the same copy; or remove both, and run `lfp ingest`, which "
                "merges all deliveries from the raw zone."
            )
            raise WarehouseInconsistentError(msg) from error
        if holder := lock_holder(error):
            return holder
        raise
    return None


@contextmanager
def naming_corruption(database: Path) -> Iterator[None]:
    """Raise a WarehouseCorruptError for DuckDB's errors about a damaged file in the block."""
    try:
        yield
    except duckdb.Error as error:
        text, hint = str(error), hint_for(error)
        if _NEWER in text:
            msg = (
                f"{database} was made by a newer DuckDB than {duckdb.__version__}. Use the "
                "environment that made it; `lfp export --format duckdb` writes a copy there that "
                "this version can read."
            )
            raise WarehouseInconsistentError(msg) from error
        is_about_file = database.name in text and any(sign in text for sign in _UNREADABLE)
        # With a hint, a full disk or the like is at fault.
        if hint or not (_CORRUPT in text or is_about_file):
            raise
        first_line = text.partition("\n")[0].rstrip(".!")
        msg = (
            f"{database} is damaged, or is no database: {first_line}. Run `lfp rebuild`, "
            "which rebuilds it from the raw zone."
        )
        raise WarehouseCorruptError(msg) from error
