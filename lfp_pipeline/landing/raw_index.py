"""The raw index: what the raw zone tells of its deliveries, so that nobody has to read all of it.

    raw.index    an SQLite database beside the raw zone

It is a cache. The truth stays in the raw zone. Only this module writes the index, and brings it up
to date before each question. The kernel notes when a folder was last changed, and nobody can
put that back; a folder that has not changed since it was scanned is not looked into again. An index
that is missing, damaged or of another version is made anew. Where it cannot be had (it is locked,
or the disk is full or read-only), one is made in memory for the question, which takes longer; where
that lasts, the log says so once in a process.
"""

import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.inbox import InboxFile
from lfp_pipeline.landing.intents import is_to_land_again
from lfp_pipeline.landing.outcomes import read_note
from lfp_pipeline.landing.partition_key import PURGES
from lfp_pipeline.landing.raw_records import is_record_name, read_record

Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)  # dagster.yaml has it written into the logs of runs
_logged: set[str] = set()

_VERSION = 3
_LOOKS = 6
_PAUSE_SECONDS = 0.1
_LOCKED_SECONDS = 10.0

_SETTLED_NS = 2_000_000_000
"""A change that is younger than this at the scan may be followed by one with the same time."""

_MOST_REMEMBERED = 100_000
"""So many files of the inbox are remembered with their deliveries until the next question."""

_MOST_CHANGES = 1_000_000
"""Generations that differ by more are of two indexes."""

_SUFFIXES = ("json", "outcome", "reverted", "pruned", "raw")

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
    has_newer INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, stem)
) WITHOUT ROWID;

CREATE INDEX deliveries_by_version ON deliveries (key, version_us);

CREATE INDEX deliveries_dated_ahead ON deliveries (key, stem) WHERE version_us > landed_us;

CREATE TABLE contents (generation INTEGER NOT NULL);
INSERT INTO contents VALUES (abs(random()) / 2);

PRAGMA user_version = {_VERSION};
"""

_ASKED = "CREATE TEMP TABLE asked (key TEXT, version_us INTEGER, size INTEGER)"

_IN_FORCE = "NOT reverted AND ended IS NOT 'refused'"
"""Of deliveries: they count, or, if they are not in yet, may still count."""

_NEWER_IN_FORCE = f"""
SELECT stem FROM deliveries AS newer
WHERE newer.key = :key AND newer.stem > :stem AND {_IN_FORCE}
ORDER BY stem DESC LIMIT 1
"""

# Computed by the scan of a folder, because a subquery for each file makes a look-up slower by half.
_SET_HAS_NEWER = f"""
UPDATE deliveries SET has_newer = NOT has_newer
WHERE key = :key AND has_newer <> (
    stem < coalesce((SELECT max(stem) FROM deliveries WHERE key = :key AND {_IN_FORCE}), '')
)
"""

_LANDED = """
:root, key, stem, version_us, size_bytes, ended, noted_id, noted_ns, reverted, pruned,
    source_ctime_ns, has_newer
"""

_VERSIONS = f"""
SELECT {_LANDED} FROM temp.asked JOIN deliveries USING (key, version_us)
WHERE size = size_bytes
ORDER BY key, stem
"""

_NEWEST = f"SELECT {_LANDED} FROM deliveries WHERE NOT has_newer ORDER BY key, stem"

_OF_PARTITION = f"SELECT {_LANDED} FROM deliveries WHERE key = :key"

_DATED_AHEAD = f"""
SELECT key, stem FROM deliveries
WHERE version_us > landed_us AND key <> :purges AND {_IN_FORCE} AND NOT has_newer
ORDER BY landed_us DESC
"""

# Of what is pruned, nothing can be taken in; it can be taken out.
_UNENDED = """
SELECT key, stem FROM deliveries
WHERE (reverted OR NOT pruned) AND (ended IS NULL OR noted_id IS NOT :database_id)
"""

# The sizes are for people: a raw file that is cut off in place has another one, unnoticed.
_ALL = """
SELECT key, stem, version_us, size_bytes, ended, noted_id, noted_ns, reverted, pruned,
    source_ctime_ns, has_newer
FROM deliveries
"""


class Landed(NamedTuple):
    """What the raw zone tells of a delivery.

    Attributes:
        root: the raw zone's folder, with a `/` at its end.
        key: its partition.
        stem: of the names of its files.
        version_us: the time of its version, in microseconds since 1970; None: its record cannot be
            read.
        size_bytes: of its file; None: likewise.
        ended: the status that is noted of it, if that is an end, and what people want; or None.
        noted_id: the database that the note speaks of.
        noted_ns: when it was noted, as a file time; None: it was not.
        reverted: whether it is to count as if it had never come.
        pruned: whether its bytes are not kept any longer.
        source_ctime_ns: when the file that it was read from was last written, moved or touched;
            None: that was not recorded.
        has_newer: whether a newer delivery of its partition counts, or may still count.
    """

    root: str
    key: str
    stem: str
    version_us: int | None
    size_bytes: int | None
    ended: str | None
    noted_id: str | None
    noted_ns: int | None
    reverted: bool
    pruned: bool
    source_ctime_ns: int | None
    has_newer: bool

    @property
    def raw(self) -> str:
        """Path of its raw file."""
        return f"{self.root}{self.key}/{self.stem}.raw"

    @property
    def delivery_id(self) -> str:
        """Its name."""
        return _delivery_id(self.key, self.stem)

    def has_ended(self, database_id: str | None) -> bool:
        """Whether an end in that database is noted."""
        return self.ended is not None and self.noted_id == database_id

    def is_to_land_again(self, file: InboxFile, raw_size: int | None) -> bool:
        """Whether that file of its version may have other bytes, or brings bytes that were lost.

        Args:
            file: in the inbox.
            raw_size: the size of the raw file, in bytes; None: there is none.
        """
        if not self.is_read_from(file.ctime_ns):
            return True
        if raw_size == file.size_bytes and not self.pruned:
            return False
        return is_to_land_again(Path(self.raw), file.size_bytes, file.ctime_ns)

    def is_read_from(self, ctime_ns: int) -> bool:
        """Whether a file of its version that has this ctime is the file that it was read from.

        Where the ctime was not recorded, it is, unless it has changed after the outcome was noted.
        A ctime in the future tells nothing then.
        """
        if self.source_ctime_ns is not None:
            return ctime_ns == self.source_ctime_ns
        return self.noted_ns is None or not self.noted_ns < ctime_ns <= time.time_ns()


_Version = tuple[str, int | None, int | None]
"""Of a file: partition key, time in microseconds, size in bytes."""


class RawIndex:
    """The index of a raw zone. Any number of threads and processes may ask it at once."""

    def __init__(self, root: Path) -> None:
        """For the raw zone in that folder."""
        self.root = root
        self._root = f"{root}/"
        self.path = root.with_name(f"{root.name}.index")
        self._now = threading.local()
        self._last_found: tuple[int, list[_Version], list[Landed | None]] | None = None
        self.problem: str | None = None
        """Why it cannot be kept, and what to do about it, as the last question found."""

    def landed(self, files: Sequence[InboxFile]) -> list[Landed | None]:
        """Return the delivery that each version of a file is: the newest with its time and size.

        None: there is none, or the file may have other bytes, or brings bytes that were lost.
        """
        asked: list[_Version] = [
            (file.partition_key, _microseconds_of(file.mtime_ns), file.size_bytes) for file in files
        ]
        found = self._ask(lambda index: self._found(index, asked), {key for key, _, _ in asked})
        if not any(found):  # Maybe there is no raw zone.
            return found
        with _open_folder(self.root) as folder:
            return [
                one if one and not one.is_to_land_again(file, _raw_size(one, folder)) else None
                for file, one in zip(files, found, strict=True)
            ]

    def _found(self, index: sqlite3.Connection, asked: list[_Version]) -> list[Landed | None]:
        """Return the newest delivery that is each version; a sensor asks the same again."""
        generation = _generation(index)
        if self._last_found is not None and self._last_found[:2] == (generation, asked):
            return self._last_found[2]
        newest: dict[_Version, Landed] = {}
        if len(asked) > _pages(index):  # Then all of the newest are read faster than these.
            newest = self._by_version(index, _NEWEST)
        if others := [version for version in asked if version not in newest]:
            index.execute(_ASKED)
            index.executemany("INSERT INTO temp.asked VALUES (?, ?, ?)", others)
            newest |= self._by_version(index, _VERSIONS)
        found = [newest.get(version) for version in asked]
        if len(asked) <= _MOST_REMEMBERED:
            self._last_found = generation, asked, found
        return found

    def _by_version(self, index: sqlite3.Connection, sql: str) -> dict[_Version, Landed]:
        rows = map(Landed._make, index.execute(sql, {"root": self._root}))
        return {(one.key, one.version_us, one.size_bytes): one for one in rows}

    def deliveries(self, key: str, stated_at: datetime | None = None) -> list[Landed]:
        """Return the deliveries of a partition, oldest first.

        Args:
            key: which partition.
            stated_at: only those which their source dates so; None: all.
        """
        sql, values = _OF_PARTITION, {"root": self._root, "key": key, "version_us": 0}
        if stated_at is not None:
            sql, values["version_us"] = (
                f"{sql} AND version_us = :version_us",
                _microseconds(stated_at),
            )
        sql = f"{sql} ORDER BY stem"  # Names sort as time does.
        return self._ask(lambda index: list(map(Landed._make, index.execute(sql, values))), {key})

    def newer_in_force(self, key: str, stem: str) -> str | None:
        """Return the stem of the newest delivery that counts or may still count, if it is newer."""
        values = {"key": key, "stem": stem}
        found = self._ask(lambda index: index.execute(_NEWER_IN_FORCE, values).fetchall(), {key})
        return next((str(newer) for (newer,) in found), None)

    def unended(self, database_id: str | None) -> list[Path]:
        """Return the records of all deliveries of which no end in that database is noted."""
        return self._records(_UNENDED, {"database_id": database_id})

    def has_unended(self, key: str, database_id: str | None) -> bool:
        """Whether a partition has such a delivery."""
        sql, values = f"{_UNENDED} AND key = :key LIMIT 1", {"database_id": database_id, "key": key}
        return self._ask(lambda index: index.execute(sql, values).fetchone() is not None, {key})

    def unended_wishes(self, database_id: str | None) -> list[Path]:
        """Return the records of such deliveries that are purges, or are to be taken out."""
        sql = f"{_UNENDED} AND (reverted OR key = :purges)"
        return self._records(sql, {"database_id": database_id, "purges": PURGES})

    def dated_ahead(self) -> list[str]:
        """Return the newest versions in force that are dated after their landing, latest first."""
        found = self._ask(lambda index: index.execute(_DATED_AHEAD, {"purges": PURGES}).fetchall())
        return [_delivery_id(key, stem) for key, stem in found]

    def ended_since(self, moment_ns: int) -> list[tuple[str, str]]:
        """Return id and status of the deliveries whose end was noted since then, as a file time."""
        sql = """
            SELECT key, stem, ended FROM deliveries
            WHERE noted_ns > ? AND ended IS NOT NULL ORDER BY noted_ns
        """
        found = self._ask(lambda index: index.execute(sql, (moment_ns,)).fetchall())
        return [(_delivery_id(key, stem), ended) for key, stem, ended in found]

    def disk_bytes(self) -> int:
        """Return the size of all files of all deliveries."""
        sql = "SELECT coalesce(sum(disk_bytes), 0) FROM deliveries"
        return self._ask(lambda index: int(index.execute(sql).fetchone()[0]))

    def differences(self) -> list[str]:
        """Return the ids of deliveries of which the index does not tell what the raw zone does."""
        different = self._differing(None)
        for attempt in range(1, _LOOKS):  # What changes meanwhile does not differ each time.
            if keys := {key for key, _ in different}:
                time.sleep(_PAUSE_SECONDS * attempt)
                different &= self._differing(keys)
        return sorted(_delivery_id(*one) for one in different)

    def _differing(self, keys: Collection[str] | None) -> set[tuple[str, str]]:
        """Return key and stem of what the index and a new one of some partitions tell otherwise."""
        kept = self._ask(lambda index: set(index.execute(_ALL)), keys)
        with closing(_new_index(":memory:")) as fresh:
            _refresh(fresh, self.root, keys)
            found = set(fresh.execute(_ALL))
        kept = {row for row in kept if keys is None or row[0] in keys}
        return {(row[0], row[1]) for row in kept ^ found}

    def _records(self, sql: str, values: Mapping[str, str | None]) -> list[Path]:
        found = self._ask(lambda index: index.execute(sql, values).fetchall())
        return [self.root / key / f"{stem}.json" for key, stem in found]

    def _ask(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None = None
    ) -> Answer:
        """Ask the index, brought up to date for some partitions or for all."""
        try:
            answer = self._ask_mended(look_up, keys)
        except (sqlite3.Error, OSError) as error:
            self._note_problem(error)
        else:
            self.problem = None
            return answer
        with closing(_new_index(":memory:")) as index:
            _refresh(index, self.root, keys)
            return look_up(index)

    def _note_problem(self, error: sqlite3.Error | OSError) -> None:
        """Note why the index cannot be kept, unless that passes or there is nothing to index."""
        code = getattr(error, "sqlite_errorcode", None)
        locked = code is not None and code & 0xFF in _LOCKED
        if locked or isinstance(error, BlockingIOError | FileNotFoundError):
            return
        if self.path.is_dir():
            remedy = "A folder is in its place: remove it."
        else:
            remedy = (
                f"Let the user that runs this write that file and the folder {self.path.parent}, "
                "and see that its disk is not full."
            )
        self.problem = (
            f"{self.path} cannot be written, so every look at the raw zone takes longer: {error}. "
            f"{remedy}"
        )
        if self.problem not in _logged:
            _logged.add(self.problem)
            _LOG.warning("%s", self.problem)

    def _ask_mended(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None
    ) -> Answer:
        """Ask the index, which is made anew if it is damaged."""
        try:
            return self._ask_kept(look_up, keys)
        except sqlite3.Error as error:
            if _is_passing(error):
                raise
        self._discard()
        return self._ask_kept(look_up, keys)

    def _ask_kept(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None
    ) -> Answer:
        with self._held(fcntl.LOCK_SH), closing(_opened(self.path)) as index:
            if not self._is_of_the_moment(index):
                _refresh(index, self.root, keys)
            return look_up(index)

    @contextmanager
    def of_one_moment(self) -> Iterator[None]:
        """Answer the questions of this thread in the block as of its begin: that costs one look.

        Where the index cannot be kept, each question looks for itself.
        """
        with suppress(sqlite3.Error, OSError):
            self._now.generation = self._ask_mended(_generation, None)
        try:
            yield
        finally:
            self._now.generation = None

    def _is_of_the_moment(self, index: sqlite3.Connection) -> bool:
        """Whether an index is the one that was brought up to date for the block, and no new one."""
        begun = getattr(self._now, "generation", None)
        return begun is not None and 0 <= _generation(index) - begun < _MOST_CHANGES

    def _discard(self) -> None:
        """Remove a damaged index, unless somebody else has it open.

        Raises:
            BlockingIOError: somebody has.
        """
        with self._held(fcntl.LOCK_EX):
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)

    @contextmanager
    def _held(self, lock: int) -> Iterator[None]:
        """Hold the raw zone's folder: nobody removes the index while it is open."""
        with _open_folder(self.root) as folder:
            fcntl.flock(folder, lock | fcntl.LOCK_NB)
            yield


def _generation(index: sqlite3.Connection) -> int:
    """Return a number that grows with each change of an index, and begins anywhere in a new one."""
    return int(index.execute("SELECT generation FROM contents").fetchone()[0])


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """Open a folder for the block. Below its descriptor, the kernel has less of a path to walk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pages(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA page_count").fetchone()[0])


def _raw_size(landed: Landed, root: int) -> int | None:
    try:
        return os.stat(f"{landed.key}/{landed.stem}.raw", dir_fd=root).st_size
    except FileNotFoundError:
        return None


def _is_passing(error: sqlite3.Error) -> bool:
    """Whether the index is not at fault: it is locked, or cannot be written here and now."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _NOT_DAMAGE


def _opened(path: Path) -> sqlite3.Connection:
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
    with _transaction(index):
        version = _version_of(index)
        if version not in {0, _VERSION}:
            msg = f"The index has version {version}"
            raise sqlite3.DatabaseError(msg)
        if not version:  # Nor has somebody else made it a moment ago.
            for statement in _SCHEMA.split(";"):
                index.execute(statement)


def _version_of(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA user_version").fetchone()[0])


def _new_index(path: str) -> sqlite3.Connection:
    index = sqlite3.connect(path, isolation_level=None)
    index.executescript(_SCHEMA)
    return index


@contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    """Keep other writers out for the block, which happens as a whole or not at all."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.rollback()
        raise
    index.execute("COMMIT")


def _refresh(index: sqlite3.Connection, root: Path, keys: Collection[str] | None) -> None:
    """Have the index tell what some folders of a raw zone tell, or all."""
    changed = _changed(index, root, keys)
    if not changed:
        return
    with _transaction(index):  # What is compared and what is written are of one state.
        started_ns = time.time_ns()
        index.execute("UPDATE contents SET generation = generation + 1")
        for key, state in _changed(index, root, changed.keys()).items():
            _scan(index, root, key, started_ns)
            if state is None:
                index.execute("DELETE FROM folders WHERE key = ?", (key,))
            else:
                # With the state from before the scan: what changes meanwhile is scanned again.
                inode, changed_ns = state if _is_settled(state[1], started_ns) else (0, 0)
                index.execute(
                    "INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (key, inode, changed_ns)
                )


_FolderState = tuple[int, int]
"""Inode and ctime, which the kernel moves with each change of names in the folder."""


def _changed(
    index: sqlite3.Connection, root: Path, keys: Collection[str] | None
) -> dict[str, _FolderState | None]:
    """Return the folders that are not as they were when they were scanned, as they are."""
    known, present = _known_states(index, keys), _folder_states(root, keys)
    if known == present:  # Mostly so, and found at once.
        return {}
    changed = {key: state for key, state in present.items() if known.get(key) != state}
    gone = known.keys() - present.keys()
    return changed | dict.fromkeys(gone if keys is None else gone & set(keys))


def _known_states(
    index: sqlite3.Connection, keys: Collection[str] | None
) -> dict[str, _FolderState]:
    """Return the folders as they were when they were scanned: at least these, or all."""
    sql, values = "SELECT key, inode, changed_ns FROM folders", []
    (count,) = index.execute("SELECT count(*) FROM folders").fetchone()
    if keys is not None and len(keys) < count // 2:  # To read all of them is faster than most.
        sql, values = f"{sql} WHERE key IN (SELECT value FROM json_each(?))", [json.dumps([*keys])]
    return {key: (inode, changed_ns) for key, inode, changed_ns in index.execute(sql, values)}


def _folder_states(root: Path, keys: Collection[str] | None) -> dict[str, _FolderState]:
    states: dict[str, _FolderState] = {}
    with suppress(FileNotFoundError), _open_folder(root) as descriptor:
        # A name that is no ASCII is no partition key.
        names = filter(str.isascii, os.listdir(descriptor)) if keys is None else keys  # noqa: PTH208
        for name in names:
            try:
                status = os.stat(f"{name}/", dir_fd=descriptor)  # Of a folder, or of none.
            except (FileNotFoundError, NotADirectoryError):
                continue
            states[name] = (status.st_ino, status.st_ctime_ns)
    return states


def _is_settled(changed_ns: int, now_ns: int) -> bool:
    """Whether what changes from now on has another time."""
    return changed_ns < now_ns - _SETTLED_NS


def _scan(index: sqlite3.Connection, root: Path, key: str, started_ns: int) -> None:
    """Bring the deliveries of a folder up to date; only those are read whose files changed."""
    found = index.execute("SELECT stem, files FROM deliveries WHERE key = ?", (key,))
    known = dict(found.fetchall())
    rows = []
    present = _entries(root / key)
    for stem, entries in present.items():
        seen = _seen(entries, started_ns)
        if not seen or known.get(stem) != seen:
            rows.append((key, stem, seen, *_told(entries)))
    gone = known.keys() - present.keys()
    index.executemany(
        "DELETE FROM deliveries WHERE key = ? AND stem = ?", [(key, stem) for stem in gone]
    )
    index.executemany(f"INSERT OR REPLACE INTO deliveries VALUES ({', '.join('?' * 13)}, 0)", rows)
    index.execute(_SET_HAS_NEWER, {"key": key})


_Entries = Mapping[str, os.DirEntry[str]]
"""The files of a delivery, by suffix."""


def _entries(folder: Path) -> dict[str, _Entries]:
    """Return the files of all deliveries in a folder that have a record, by the name's stem."""
    deliveries: dict[str, dict[str, os.DirEntry[str]]] = defaultdict(dict)
    missing = (FileNotFoundError, NotADirectoryError, PermissionError)
    with suppress(*missing), os.scandir(folder) as found:
        for entry in found:
            stem, _, suffix = entry.name.rpartition(".")
            if suffix in _SUFFIXES:
                deliveries[stem][suffix] = entry
    return {
        stem: entries
        for stem, entries in deliveries.items()
        if "json" in entries and is_record_name(entries["json"].name)
    }


def _seen(entries: _Entries, started_ns: int) -> str:
    """Return what tells these files from others of the same names; empty: nothing does, yet.

    Inodes alone do not: that of a removed file is the next one's. Of raw files they do: under one
    name, all have the same bytes.
    """
    seen = [f"{suffix} {entries[suffix].inode()}" for suffix in _SUFFIXES if suffix in entries]
    for suffix in ("json", "outcome"):
        if entry := entries.get(suffix):
            changed_ns = entry.stat().st_ctime_ns
            if not _is_settled(changed_ns, started_ns):
                return ""
            seen.append(str(changed_ns))
    return " ".join(seen)


def _told(entries: _Entries) -> tuple[object, ...]:
    """Return what the files of a delivery tell, in the order of the columns."""
    version_us = size_bytes = source_ctime_ns = landed_us = None
    noted: tuple[str | None, str | None, int | None] = (None, None, None)
    # Whoever asks for the record tells of what is wrong with it.
    with suppress(LandingError):
        record = read_record(Path(entries["json"].path))
        version_us, size_bytes = _microseconds(record.version_time), record.size_bytes
        source_ctime_ns = record.source_ctime_ns
        landed_us = _microseconds(record.landed_at)
    reverted, pruned = "reverted" in entries, "pruned" in entries
    if note := entries.get("outcome"):
        with suppress(FileNotFoundError):
            read = read_note(Path(note.path))
            noted = read.end(reverted=reverted), read.database_id, read.noted_ns
    disk_bytes = sum(entry.stat().st_size for entry in entries.values())
    of_record = source_ctime_ns, disk_bytes, landed_us
    return version_us, size_bytes, *noted, reverted, pruned, *of_record


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _microseconds_of(file_time_ns: int) -> int:
    """The same of a file time, cut as `utc_from_ns` does."""
    microseconds = file_time_ns // 1000
    if _EARLIEST_US <= microseconds <= _LATEST_US:
        return microseconds
    return _EARLIEST_US if microseconds < 0 else _LATEST_US


def _delivery_id(key: str, stem: str) -> str:
    return f"{key}#{stem.replace('-', '#')}"
