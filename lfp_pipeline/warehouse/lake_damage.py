"""What DuckDB's errors about the files of a lake mean: damage, or a snapshot that has expired."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from lfp_pipeline.errors import LfpError, WarehouseCorruptError
from lfp_pipeline.warehouse.lake_owner import is_claimed

_FILE = r"ducklake-[0-9a-f-]+\.parquet"

# These are parts of DuckDB's messages.
_DAMAGED = (
    "No such file or directory",
    r"\(HTTP 404",
    "Is a directory",
    "too small to be a Parquet file",
    "[Ff]ooter length",
    "[Nn]o magic bytes",
    "Could not read enough bytes",
    "[Dd]ecompression failure",
    "Invalid string encoding found in Parquet file",
)
# Of metadata inside of Parquet files: DuckDB does not name the file.
_DAMAGED_METADATA = (
    "TProtocolException",
    "don't know what type",
    "Variable-length int over",
    "Out of buffer",
    "invalid TType",
)

_EXPIRED = "No snapshot found at version"


def means_damage(error: duckdb.Error, place: str) -> bool:
    """Return whether a file of the lake at a place is absent, or is no right Parquet file."""
    text = str(error)
    if re.search(_FILE, text):
        found = re.search("|".join(_DAMAGED), text) is not None
    else:  # Errors of other kinds have classes of their own.
        found = type(error) is duckdb.Error and text.startswith(_DAMAGED_METADATA)
    # Without the marker, the whole store is absent, such as a share that is not mounted.
    return found and is_claimed(place)


@contextmanager
def naming_damage(place: str) -> Iterator[None]:
    """Raise a WarehouseCorruptError for DuckDB's errors about a damaged file in the block."""
    try:
        yield
    except duckdb.Error as error:
        if not means_damage(error, place):
            raise
        first_line = str(error).partition("\n")[0].rstrip(".!")
        msg = (
            f"The lake in {place} is damaged: {first_line}. Put the file back, or run `lfp "
            "rebuild`, which rebuilds the tables from the raw zone."
        )
        raise WarehouseCorruptError(msg) from error


@contextmanager
def naming_expiry() -> Iterator[None]:
    """Raise an LfpError if the snapshot that the block reads has expired."""
    try:
        yield
    except duckdb.Error as error:
        if _EXPIRED not in str(error):
            raise
        msg = (
            "The snapshot that is read has expired: reading took longer than `lfp maintain` keeps "
            "snapshots. Raise LFP_LAKE_RETENTION_HOURS, and run this again."
        )
        raise LfpError(msg) from error
