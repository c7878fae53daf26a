"""The database file of the raw index: its schema, and how it is opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

_VERSION = 2
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

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (UTC without a zone, as all times of deliveries)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST_US = (datetime.min - _EPOCH) // _MICROSECOND  # noqa: DTZ901 (likewise)
_LATEST_US = (datetime.max - _EPOCH) // _MICROSECOND  # noqa: DTZ901 (likewise)

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
    PRIMARY KEY (key, stem)
) WITHOUT ROWID;

CREATE INDEX deliveries_by_version ON deliveries (key, version_us);

CREATE INDEX deliveries_dated_ahead ON deliveries (key, stem) WHERE version_us > landed_us;

CREATE TABLE contents (generation INTEGER NOT NULL);
INSERT INTO contents VALUES (abs(random()) / 2);

PRAGMA user_version = {_VERSION};
"""


def open_index(path: Path) -> sqlite3.Connection:
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
        if not version:  # Nor has somebody else made it a moment ago.
            for statement in _SCHEMA.split(";"):
                index.execute(statement)


def _version_of(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA user_version").fetchone()[0])


def new_index(path: str) -> sqlite3.Connection:
    index = sqlite3.connect(path, isolation_level=None)
    index.executescript(_SCHEMA)
    return index


@contextmanager
def transaction(index: sqlite3.Connection) -> Iterator[None]:
    """Keep other writers out for the block, which happens as a whole or not at all."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.rollback()
        raise
    index.execute("COMMIT")


def generation(index: sqlite3.Connection) -> int:
    """Return a number that grows with each change of an index, and begins anywhere in a new one."""
    return int(index.execute("SELECT generation FROM contents").fetchone()[0])


def is_locked(error: Exception) -> bool:
    """Whether another process has the index locked."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _LOCKED


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the index is not at fault: it is locked, or cannot be written here and now."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _NOT_DAMAGE


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def microseconds_of(file_time_ns: int) -> int:
    """The same of a file time, cut as `utc_from_ns` does."""
    return min(max(file_time_ns // 1000, _EARLIEST_US), _LATEST_US)
