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
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.raw_zone.index_database import (
    generation,
    is_locked,
    is_passing,
    microseconds,
    microseconds_of,
    new_index,
    open_index,
)
from lfp_pipeline.raw_zone.index_scan import refresh
from lfp_pipeline.raw_zone.landed import Landed, delivery_id_of
from lfp_pipeline.sources.inbox import InboxFile

Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)  # dagster.yaml has it written into the logs of runs
_logged: set[str] = set()

_LOOKS = 6
_PAUSE_SECONDS = 0.1
_MOST_REMEMBERED = 100_000
"""So many files of the inbox are remembered with their deliveries until the next question."""

_MOST_CHANGES = 1_000_000
"""Generations that differ by more are of two indexes."""

_ASKED = "CREATE TEMP TABLE asked (number INTEGER PRIMARY KEY, key TEXT, version_us INT, size INT)"

_IN_FORCE = "NOT reverted AND ended IS NOT 'refused'"
"""Of deliveries: they count, or, if they are not in yet, may still count."""

_NEWER_IN_FORCE = f"""
SELECT stem FROM deliveries AS newer
WHERE newer.key = {{key}} AND newer.stem > {{stem}} AND {_IN_FORCE}
ORDER BY stem DESC LIMIT 1
"""

_LANDED = f"""
:root, key, stem, ended, noted_id, noted_ns, reverted, pruned, source_ctime_ns,
    EXISTS ({_NEWER_IN_FORCE.format(key="deliveries.key", stem="deliveries.stem")})
"""

_VERSIONS = f"""
SELECT {_LANDED}, number FROM temp.asked JOIN deliveries USING (key, version_us)
WHERE size = size_bytes
ORDER BY number, stem
"""

_OF_PARTITION = f"SELECT {_LANDED} FROM deliveries WHERE key = :key"

_DATED_AHEAD = f"""
SELECT key, stem FROM deliveries
WHERE version_us > landed_us AND key <> :purges AND {_IN_FORCE}
    AND NOT EXISTS ({_NEWER_IN_FORCE.format(key="deliveries.key", stem="deliveries.stem")})
ORDER BY landed_us DESC
"""

# The sizes are for people: a raw file that is cut off in place has another one, unnoticed.
_ALL = """
SELECT key, stem, version_us, size_bytes, ended, noted_id, noted_ns, reverted, pruned,
    source_ctime_ns
FROM deliveries
"""


_Asked = list[tuple[int, str, int, int]]
"""Versions of files: number, partition key, time in microseconds, size in bytes."""


class RawIndex:
    """The index of a raw zone. Any number of threads and processes may ask it at once."""

    def __init__(self, root: Path) -> None:
        """For the raw zone in that folder."""
        self.root = root
        self._root = f"{root}/"
        self.path = root.with_name(f"{root.name}.index")
        self._now = threading.local()
        self._last_judged: tuple[int, _Asked, list[tuple[int, Landed]]] | None = None
        self.problem: str | None = None
        """Why it cannot be kept, and what to do about it, as the last question found."""

    def judged(
        self,
        files: Sequence[InboxFile],
        judge: Callable[[Landed, InboxFile], Answer | None],
    ) -> list[Answer | None]:
        """Judge the deliveries that are the versions of some files, by time and size.

        Args:
            files: versions of files.
            judge: is asked of each such delivery and its file, and maybe again.

        Returns:
            The first judgement of each file that is not None.
        """
        asked = [
            (number, file.partition_key, microseconds_of(file.mtime_ns), file.size_bytes)
            for number, file in enumerate(files)
        ]

        def look_up(index: sqlite3.Connection) -> list[Answer | None]:
            found: list[Answer | None] = [None] * len(files)
            for number, landed in self._versions(index, asked):
                judgement = judge(landed, files[number])
                if found[number] is None:
                    found[number] = judgement
            return found

        return self.ask(look_up, {key for _, key, _, _ in asked})

    def _versions(self, index: sqlite3.Connection, asked: "_Asked") -> list[tuple[int, Landed]]:
        """Return the deliveries that are asked for, by number: a sensor asks the same each time."""
        current = generation(index)
        last = self._last_judged
        if last is not None and last[:2] == (current, asked):
            return last[2]
        index.execute(_ASKED)
        index.executemany("INSERT INTO temp.asked VALUES (?, ?, ?, ?)", asked)
        rows = index.execute(_VERSIONS, {"root": self._root})
        found = [(number, Landed._make(landed)) for *landed, number in rows]
        if len(asked) <= _MOST_REMEMBERED:
            self._last_judged = current, asked, found
        return found

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
                microseconds(stated_at),
            )
        sql = f"{sql} ORDER BY stem"  # Names sort as time does.
        return self.ask(lambda index: list(map(Landed._make, index.execute(sql, values))), {key})

    def newer_in_force(self, key: str, stem: str) -> str | None:
        """Return the stem of the newest delivery that counts or may still count, if it is newer."""
        sql, values = _NEWER_IN_FORCE.format(key=":key", stem=":stem"), {"key": key, "stem": stem}
        found = self.ask(lambda index: index.execute(sql, values).fetchall(), {key})
        return next((str(newer) for (newer,) in found), None)

    def dated_ahead(self) -> list[str]:
        """Return the newest versions in force that are dated after their landing, latest first."""
        found = self.ask(lambda index: index.execute(_DATED_AHEAD, {"purges": PURGES}).fetchall())
        return [delivery_id_of(key, stem) for key, stem in found]

    def ended_since(self, moment_ns: int) -> list[tuple[str, str]]:
        """Return id and status of the deliveries whose end was noted since then, as a file time."""
        sql = """
            SELECT key, stem, ended FROM deliveries
            WHERE noted_ns > ? AND ended IS NOT NULL ORDER BY noted_ns
        """
        found = self.ask(lambda index: index.execute(sql, (moment_ns,)).fetchall())
        return [(delivery_id_of(key, stem), ended) for key, stem, ended in found]

    def disk_bytes(self) -> int:
        """Return the size of all files of all deliveries."""
        sql = "SELECT coalesce(sum(disk_bytes), 0) FROM deliveries"
        return self.ask(lambda index: int(index.execute(sql).fetchone()[0]))

    def differences(self) -> list[str]:
        """Return the ids of deliveries of which the index does not tell what the raw zone does."""
        different = self._differing(None)
        for attempt in range(1, _LOOKS):  # What changes meanwhile does not differ each time.
            if keys := {key for key, _ in different}:
                time.sleep(_PAUSE_SECONDS * attempt)
                different &= self._differing(keys)
        return sorted(delivery_id_of(*one) for one in different)

    def _differing(self, keys: Collection[str] | None) -> set[tuple[str, str]]:
        """Return key and stem of what the index and a new one of some partitions tell otherwise."""
        kept = self.ask(lambda index: set(index.execute(_ALL)), keys)
        with closing(new_index(":memory:")) as fresh:
            refresh(fresh, self.root, keys)
            found = set(fresh.execute(_ALL))
        kept = {row for row in kept if keys is None or row[0] in keys}
        return {(row[0], row[1]) for row in kept ^ found}

    def ask(
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
        with closing(new_index(":memory:")) as index:
            refresh(index, self.root, keys)
            return look_up(index)

    def _note_problem(self, error: sqlite3.Error | OSError) -> None:
        """Note why the index cannot be kept, unless that passes or there is nothing to index."""
        if is_locked(error) or isinstance(error, BlockingIOError | FileNotFoundError):
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
            if is_passing(error):
                raise
        self._discard()
        return self._ask_kept(look_up, keys)

    def _ask_kept(
        self, look_up: Callable[[sqlite3.Connection], Answer], keys: Collection[str] | None
    ) -> Answer:
        with self._held(fcntl.LOCK_SH), closing(open_index(self.path)) as index:
            if not self._is_of_the_moment(index):
                refresh(index, self.root, keys)
            return look_up(index)

    @contextmanager
    def of_one_moment(self) -> Iterator[None]:
        """Answer the questions of this thread in the block as of its begin: that costs one look.

        Where the index cannot be kept, each question looks for itself.
        """
        with suppress(sqlite3.Error, OSError):
            self._now.generation = self._ask_mended(generation, None)
        try:
            yield
        finally:
            self._now.generation = None

    def _is_of_the_moment(self, index: sqlite3.Connection) -> bool:
        """Whether an index is the one that was brought up to date for the block, and no new one."""
        begun = getattr(self._now, "generation", None)
        return begun is not None and 0 <= generation(index) - begun < _MOST_CHANGES

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
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)
