"""The raw index: a cache of records, markers and status notes, which saves reading the raw zone.

    raw.index    an SQLite database beside the raw zone

The raw zone is the truth. Each query first brings the index up to date. A folder whose ctime has
not changed since its scan is not scanned again, because no program can set a ctime back. An index
that is missing, damaged or of another version is rebuilt. If the index is locked, or the disk is
full or read-only, a query builds an index in memory, which takes longer. If that lasts, each
process logs it once.
"""

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from lfp_pipeline.common.clock import microseconds, microseconds_of
from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.raw_zone.byte_store import HasSize
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from lfp_pipeline.raw_zone.folder_store import open_folder
from lfp_pipeline.raw_zone.index_database import (
    generation,
    is_locked,
    is_passing,
    memory_index,
    open_index,
    page_count,
)
from lfp_pipeline.raw_zone.index_rows import IN_FORCE
from lfp_pipeline.raw_zone.landed import Landed, NotedStatus
from lfp_pipeline.sources.inbox import InboxFile

Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)  # dagster.yaml writes it into the logs of runs.
_logged: set[str] = set()

_COMPARISONS = 6
_PAUSE_SECONDS = 0.1

_CACHE_LIMIT = 100_000
"""Maximum number of inbox files whose deliveries are cached until the next query."""

_MAX_CHANGES = 1_000_000
"""Generations that differ by more belong to two indexes."""

_ASKED = "CREATE TEMP TABLE asked (key TEXT, version_us INTEGER, size INTEGER)"

_NEWER_IN_FORCE = f"""
SELECT stem FROM deliveries
WHERE key = :key AND stem > :stem AND {IN_FORCE}
ORDER BY stem DESC LIMIT 1
"""

_LANDED = """
key, stem, version_us, size_bytes, ended, noted_id, noted_ns, reverted, pruned,
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
WHERE version_us > landed_us AND key <> :purges AND {IN_FORCE} AND NOT has_newer
ORDER BY landed_us DESC
"""

# Without `disk_bytes`: truncating a raw file in place changes its size, but not the index.
_ALL = f"SELECT {_LANDED} FROM deliveries"

_Version = tuple[str, int | None, int | None]
"""Of a file: partition key, time in microseconds since 1970, size in bytes."""


class RawIndex:
    """The index of a raw zone. Any number of threads and processes may query it at once.

    Attributes:
        path: the database file of the index.
        problem: why the last query could not use that file, and what to do; None: it could.
    """

    def __init__(
        self, path: Path, folder: Path, desired: DesiredStates, *, read_only: bool = False
    ) -> None:
        """Use the index of a raw zone in a file.

        Args:
            folder: is locked while the file is open. Without it, there is no file.
            read_only: build an index in memory for each query.
        """
        self.path = path
        self._folder = folder
        self._desired = desired
        self.read_only = read_only
        self._refresh = desired.sidecars.refresh
        self._snapshot = threading.local()
        self._last_found: tuple[int, list[_Version], list[Landed | None]] | None = None
        self.problem: str | None = None

    def landed(self, files: Sequence[InboxFile]) -> list[Landed | None]:
        """Return the delivery of each file: the newest with the time and size of the file.

        None: there is none, or the file may have other bytes, or restores lost bytes.
        """
        asked: list[_Version] = [
            (file.partition_key, microseconds_of(file.mtime_ns), file.size_bytes) for file in files
        ]
        found = self.ask(lambda index: self._newest(index, asked), {key for key, _, _ in asked})
        if not any(found):  # The raw zone may be missing.
            return found
        with self._desired.store.checking_sizes() as has_size:
            return [
                landed if landed and self._has_landed(file, landed, has_size) else None
                for file, landed in zip(files, found, strict=True)
            ]

    def _has_landed(self, file: InboxFile, landed: Landed, has_size: HasSize) -> bool:
        """Return whether a file of a version is the one that landed, and restores no lost bytes."""
        if not landed.is_read_from(file.ctime_ns):
            return False
        name = landed.raw_name
        if not landed.pruned and has_size(name, file.size_bytes):
            return True
        return not self._desired.should_land_again(name, file.size_bytes, file.ctime_ns)

    def _newest(self, index: sqlite3.Connection, asked: list[_Version]) -> list[Landed | None]:
        """Return the newest delivery of each version, cached for a sensor that repeats itself."""
        current = generation(index)
        if self._last_found is not None and self._last_found[:2] == (current, asked):
            return self._last_found[2]
        newest: dict[_Version, Landed] = {}
        if len(asked) > page_count(index):  # Reading the newest of all partitions is faster then.
            newest = self._by_version(index, _NEWEST)
        if others := [version for version in asked if version not in newest]:
            index.execute(_ASKED)
            index.executemany("INSERT INTO temp.asked VALUES (?, ?, ?)", others)
            newest |= self._by_version(index, _VERSIONS)
        found = [newest.get(version) for version in asked]
        if len(asked) <= _CACHE_LIMIT:
            self._last_found = current, asked, found
        return found

    def _by_version(self, index: sqlite3.Connection, sql: str) -> dict[_Version, Landed]:
        """Return the last of the selected deliveries of each version."""
        rows = map(Landed._make, index.execute(sql))
        return {(landed.key, landed.version_us, landed.size_bytes): landed for landed in rows}

    def deliveries(self, key: str, stated_at: datetime | None = None) -> list[Landed]:
        """Return the deliveries of a partition, or of them those of a stated time, oldest first."""
        sql, values = _OF_PARTITION, {"key": key, "version_us": 0}
        if stated_at is not None:
            sql, values["version_us"] = (
                f"{sql} AND version_us = :version_us",
                microseconds(stated_at),
            )
        sql = f"{sql} ORDER BY stem"  # Names sort by time.
        return self.ask(lambda index: list(map(Landed._make, index.execute(sql, values))), {key})

    def newest_versions(self, keys: Collection[str]) -> dict[str, int]:
        """Return the times of the newest versions of partitions, in microseconds since 1970."""
        sql = "SELECT max(version_us) FROM deliveries WHERE key = ?"
        found = self.ask(
            lambda index: {key: index.execute(sql, (key,)).fetchone()[0] for key in keys}, keys
        )
        return {key: time_us for key, time_us in found.items() if time_us is not None}

    def partitions_beginning_with(self, text: str) -> list[str]:
        """Return the keys of the partitions that begin with a text and have deliveries, sorted."""
        sql = "SELECT DISTINCT key FROM deliveries WHERE substr(key, 1, length(?)) = ? ORDER BY key"
        return self.ask(lambda index: [key for (key,) in index.execute(sql, (text, text))])

    def newer_in_force(self, key: str, stem: str) -> str | None:
        """Return the stem of the newest delivery in force of a partition, if newer than a stem."""
        values = {"key": key, "stem": stem}
        found = self.ask(lambda index: index.execute(_NEWER_IN_FORCE, values).fetchall(), {key})
        return next((str(newer) for (newer,) in found), None)

    def dated_ahead(self) -> list[str]:
        """Return the newest versions in force that are dated after their landing, latest first."""
        found = self.ask(lambda index: index.execute(_DATED_AHEAD, {"purges": PURGES}).fetchall())
        return [RawName(key, stem).delivery_id for key, stem in found]

    def noted_since(self, time_ns: int) -> list[NotedStatus]:
        """Return the status notes that are younger than a file time, the oldest first."""
        sql = """
            SELECT key, stem, ended, noted_ns FROM deliveries
            WHERE noted_ns > ? AND ended IS NOT NULL ORDER BY noted_ns
        """
        found = self.ask(lambda index: index.execute(sql, (time_ns,)).fetchall())
        return list(map(NotedStatus._make, found))

    def last_noted_ns(self) -> int:
        """Return the modification time of the youngest status note; 0 if there is none."""
        sql = "SELECT coalesce(max(noted_ns), 0) FROM deliveries"
        return self.ask(lambda index: int(index.execute(sql).fetchone()[0]))

    def disk_bytes(self) -> int:
        """Return the total size of all files of all deliveries."""
        sql = "SELECT coalesce(sum(disk_bytes), 0) FROM deliveries"
        return self.ask(lambda index: int(index.execute(sql).fetchone()[0]))

    def differences(self) -> list[str]:
        """Return the ids of deliveries for which index and raw zone differ."""
        different = self._differing(None)
        for attempt in range(1, _COMPARISONS):  # A change meanwhile does not differ each time.
            if keys := {key for key, _ in different}:
                time.sleep(_PAUSE_SECONDS * attempt)
                different &= self._differing(keys)
        return sorted(RawName(key, stem).delivery_id for key, stem in different)

    def _differing(self, keys: Collection[str] | None) -> set[tuple[str, str]]:
        """Return key and stem of deliveries for which a new index of some partitions differs."""
        rows = self.ask(lambda index: set(index.execute(_ALL)), keys)
        with closing(memory_index()) as rebuilt:
            self._refresh(rebuilt, keys)
            expected = set(rebuilt.execute(_ALL))
        rows = {row for row in rows if keys is None or row[0] in keys}
        return {(row[0], row[1]) for row in rows ^ expected}

    def ask(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None = None
    ) -> Answer:
        """Query the index after bringing some partitions, or all, up to date."""
        try:
            answer = self._ask_repaired(look_up, keys)
        except (sqlite3.Error, OSError) as error:
            self._note_problem(error)
        else:
            self.problem = None
            return answer
        with closing(memory_index()) as index:
            self._refresh(index, keys)
            return look_up(index)

    def _note_problem(self, error: sqlite3.Error | OSError) -> None:
        """Record and log why the index file cannot be used, unless that passes by itself."""
        if is_locked(error) or isinstance(error, BlockingIOError | FileNotFoundError):
            return
        if self.path.is_dir():
            hint = "A folder is in its place: remove it."
        else:
            hint = (
                "Let the user of this process write that file and the folder "
                f"{self.path.parent}, and check that the disk is not full."
            )
        self.problem = (
            f"{self.path} cannot be written, so every query of the raw zone takes longer: {error}. "
            f"{hint}"
        )
        if self.problem not in _logged:
            _logged.add(self.problem)
            _LOG.warning("%s", self.problem)

    def _ask_repaired(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None
    ) -> Answer:
        """Query the index file, after rebuilding it if it is damaged.

        Raises:
            OSError: the index is read only, or its file cannot be opened.
        """
        if self.read_only:
            raise BlockingIOError
        try:
            return self._ask_file(look_up, keys)
        except sqlite3.Error as error:
            if is_passing(error):
                raise
        self._discard()
        return self._ask_file(look_up, keys)

    def _ask_file(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None
    ) -> Answer:
        with self._folder_locked(fcntl.LOCK_SH), closing(open_index(self.path)) as index:
            if not self._has_snapshot(index):
                self._refresh(index, keys)
            return look_up(index)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Bring the index up to date once for all queries of this thread in the block.

        If the index file cannot be used, each query builds an index in memory.
        """
        before = getattr(self._snapshot, "generation", None)
        with suppress(sqlite3.Error, OSError):
            self._snapshot.generation = self._ask_repaired(generation, None)
        try:
            yield
        finally:
            self._snapshot.generation = before

    def _has_snapshot(self, index: sqlite3.Connection) -> bool:
        """Return whether an index is the one that the block has brought up to date."""
        begun = getattr(self._snapshot, "generation", None)
        return begun is not None and 0 <= generation(index) - begun < _MAX_CHANGES

    def _discard(self) -> None:
        """Remove a damaged index file; raise BlockingIOError if another process has it open."""
        with self._folder_locked(fcntl.LOCK_EX):
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)

    @contextmanager
    def _folder_locked(self, lock: int) -> Iterator[None]:
        """Lock the raw zone's folder, so that no process removes the index while it is open."""
        with open_folder(self._folder) as folder:
            fcntl.flock(folder, lock | fcntl.LOCK_NB)
            yield
