"""The SQLite database of the raw index: schema, opening, error classes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 3
_LOCKED_SECONDS = 10.0

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NOT_DAMAGE = {
    *_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
}

_SCHEMA = f"""
CREATE TABLE folders (
    key TEXT PRIMARY KEY,
    inode INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE deliveries (
    key TEXT NOT NULL,
    stem TEXT NOT NULL,
    files TEXT NOT NULL,
    version_us INTEGER,
    size_bytes INTEGER,
    ended TEXT,
    noted_id TEXT,
    noted_ns INTEGER,
    reverted INTEGER NOT NULL,
    pruned INTEGER NOT NULL,
    source_ctime_ns INTEGER,
    disk_bytes INTEGER NOT NULL,
    landed_us INTEGER,
    has_newer INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, stem)
) WITHOUT ROWID;

CREATE INDEX deliveries_by_version ON deliveries (key, version_us);

CREATE INDEX deliveries_dated_ahead ON deliveries (key, stem) WHERE version_us > landed_us;

CREATE TABLE contents (generation INTEGER NOT NULL);
INSERT INTO contents VALUES (abs(random()) / 2);

PRAGMA user_version = {_VERSION};
"""


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index, or create it.

    Raises:
        sqlite3.Error: the index is damaged, of another version, locked or not writable.
    """
    index = sqlite3.connect(path, timeout=_LOCKED_SECONDS, isolation_level=None)
    try:
        index.execute("PRAGMA temp_store = MEMORY")
        if _version_of(index) != _VERSION:
            _create(index)
    except BaseException:
        index.close()
        raise
    return index


def _create(index: sqlite3.Connection) -> None:
    with transaction(index):
        version = _version_of(index)
        if version not in {0, _VERSION}:
            msg = f"The index has version {version}"
            raise sqlite3.DatabaseError(msg)
        if not version:  # Another process may have created it meanwhile.
            for statement in _SCHEMA.split(";"):
                index.execute(statement)


def _version_of(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA user_version").fetchone()[0])


def memory_index() -> sqlite3.Connection:
    """Return an empty index in memory."""
    index = sqlite3.connect(":memory:", isolation_level=None)
    index.executescript(_SCHEMA)
    return index


@contextmanager
def transaction(index: sqlite3.Connection) -> Iterator[None]:
    """Exclude other writers for the block, and commit its changes, or none if it raises."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.rollback()
        raise
    index.execute("COMMIT")


def generation(index: sqlite3.Connection) -> int:
    """Return a number that grows with each change of the index, and is random in a new one."""
    return int(index.execute("SELECT generation FROM contents").fetchone()[0])


def page_count(index: sqlite3.Connection) -> int:
    """Return the number of pages of the index."""
    return int(index.execute("PRAGMA page_count").fetchone()[0])


def is_locked(error: Exception) -> bool:
    """Return whether an error says that another process has the index locked."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _LOCKED


def is_passing(error: sqlite3.Error) -> bool:
    """Return whether an error is no sign of damage: the index is locked or cannot be written."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _NOT_DAMAGE
