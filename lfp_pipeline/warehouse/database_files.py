"""The files of a DuckDB database: how they are copied and replaced, and the id in its own file.

    products.duckdb        the database
    products.duckdb.wal    its write-ahead log, where there is one
    products.duckdb.id     ID COUNT    the id, and how often the ledger was written

The database is the truth; the id file is a cache for processes that do not open the database. Any
other content of that file says nothing, and the next process that opens the database replaces it.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from lfp_pipeline.common.atomic_files import sync_folder
from lfp_pipeline.common.duckdb_tools import write_ahead_logs

_MAX_BYTES = 200
_CONTENT = re.compile(rb"([!-~]{1,64})(?: (\d{1,18}))?\s*")


def copy_database(database: Path, file: BinaryIO, copy: Path) -> None:
    """Copy a database into an open file of that name, and its log beside that."""
    with database.open("rb") as source:
        _copy(source, file)
        for path in write_ahead_logs(database):
            suffix = path.name.removeprefix(database.name)
            with path.open("rb") as log, copy.with_name(copy.name + suffix).open("wb") as target:
                _copy(log, target)
        # Only now: closing any handle of the file frees the lock that DuckDB has on it.


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file; where the file system can, both share the blocks on disk."""
    size = os.fstat(source.fileno()).st_size
    with suppress(AttributeError, OSError):  # Not every system and file system can.
        while os.copy_file_range(source.fileno(), target.fileno(), size):
            pass
    shutil.copyfileobj(source, target)  # The rest: mostly nothing, else all of the file.
    target.flush()


def replace_database(old: Path, new: Path) -> None:
    """Put a database in the place of another; neither may have a write-ahead log.

    Raises:
        OSError: this failed; the old database stands.
    """
    for path in (old, new):
        if logs := write_ahead_logs(path):
            msg = f"{logs[0]} is still there."
            raise OSError(msg)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(old)
    sync_folder(old.parent)


def read_id(path: Path) -> tuple[str | None, int]:
    """Return the id and how often the ledger was written; None and 0 where that is not known."""
    try:
        if not path.is_file():  # Opening a pipe may block.
            return None, 0
        with path.open("rb") as file:
            found = _CONTENT.fullmatch(file.read(_MAX_BYTES))
    except OSError:
        return None, 0
    return (found[1].decode(), int(found[2] or 0)) if found else (None, 0)


def write_id(path: Path, database_id: str, times: int) -> None:
    """Replace the id file, if its content is another."""
    if read_id(path) == (database_id, times):
        return
    temporary = path.with_suffix(".part")
    try:
        temporary.write_text(f"{database_id} {times}")
        if path.is_dir():
            remove_id(path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_id(path: Path) -> None:
    """Remove the id file; a folder in its place may hold something, and gets another name."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.broken-{uuid4().hex[:8]}"))
    else:
        path.unlink(missing_ok=True)
