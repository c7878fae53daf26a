"""What is dropped into a data folder and asked of it, at random, and what it must hold then."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from testing.expected_tables import Deletion, File, Row, assert_tables_match, expected_deletions
from verification.crash.worker import PRUNE, PURGE, REINSTATE, REVERT, Job
from verification.fuzz.cases import PACKINGS
from verification.histories.rules import Version

KEYS = ("a.csv", "a", "b.csv", "c.csv", "d.csv")
LARGE_BYTES = 4_500_000
"""Just large enough to be loaded directly, where the product is as it is."""


_PACKINGS = ["plain"] * 4 + ["zip", "gz", "zst"]
_CLEAN_SHARE = 0.6
_SKUS, _NAMES = 60, 12
_BEGUN = 0.2
"""The share of files of which only the begin comes, and all of it the next time."""

_MOST_ROWS = 40
_LARGE_ROWS = 2_000

AT_THE_DROP = 10**12
"""A file with a time from here on is dropped with that of the drop: it is newer than all purges."""

AHEAD = 4_102_444_800_000_000
"""One from here on is dropped with this time of the year 2100: it gets that of its landing."""

_PURGED_SKUS = 12
_ALL_ARE_PURGED = 0.1


@dataclass(frozen=True)
class Notes:
    """What the raw zone tells of what operators have asked for: ids of deliveries.

    Attributes:
        deletions: that have landed, by id.
        reverted: what is to be as if it had never come.
        pruned: what has no bytes any more.
        times: of versions that have another time than their source says, by their partition, the
            begin of their digest, and what the source says: that time, in microseconds.
    """

    deletions: Mapping[str, Deletion] = field(default_factory=dict)
    reverted: frozenset[str] = frozenset()
    pruned: frozenset[str] = frozenset()
    times: Mapping[tuple[str, str, int], int] = field(default_factory=dict)


def notes_in(raw: Path) -> Notes:
    """What a raw zone tells, read without the product."""
    records = [json.loads(path.read_bytes()) for path in raw.glob("*/[!.]*.json")]
    deletions = [_deletion(raw, one) for one in records if one["kind"] == "deletion"]
    return Notes(
        deletions={one.delivery_id: one for one in deletions},
        reverted=_noted(raw, ".reverted"),
        pruned=_noted(raw, ".pruned"),
        times={
            (one["partition_key"], one["sha256"][:16], _microseconds(one["stated_at"])): (
                _microseconds(one["delivered_at"])
            )
            for one in records
            if "stated_at" in one
        },
    )


def _microseconds(moment: str) -> int:
    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001


def _deletion(raw: Path, record: Mapping[str, str]) -> Deletion:
    key, _, name = record["delivery_id"].partition("#")
    with (raw / key / f"{name.replace('#', '-')}.raw").open(newline="") as file:
        _, *rows = csv.reader(file)
    delivered_at = datetime.fromisoformat(record["delivered_at"])
    return Deletion(record["delivery_id"], delivered_at, frozenset(sku for (sku,) in rows))


def _noted(raw: Path, suffix: str) -> frozenset[str]:
    paths = raw.glob(f"*/[!.]*{suffix}")
    return frozenset(f"{path.parent.name}#{path.stem.replace('-', '#')}" for path in paths)


@dataclass
class History:
    """What was meant to happen in a data folder: the tables are checked against this.

    Whoever is killed at an operator's work has done it, or not begun it; the raw zone tells which.
    Nothing is noted there but what was asked for.

    Attributes:
        files: all that were dropped so far.
        notes: what operators have done so far.
        asked: an operator's work that may have been done since.
        completed: of this round: begins of files that had come, and the whole ones.
    """

    files: list[File] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    asked: Job | None = None
    completed: list[tuple[Version, Version]] = field(default_factory=list)

    def drop(self, file: File) -> None:
        """Note that a file was dropped, and whether it completes the newest version before."""
        known = [one for one in self.files if one.key == file.key]
        newest = max(known, key=lambda one: (one.delivered_at, one.delivery_id), default=None)
        if isinstance(file, Version) and isinstance(newest, Version) and _is_begin(newest, file):
            self.completed.append((newest, file))
        self.files.append(file)

    def draw(self, work: str, random: Random) -> tuple[str, ...]:
        """What an operator's work is about: the arguments of its job."""
        known = [file for file in self.files if file.microseconds < AHEAD]
        ids = {*(file.delivery_id for file in known), *self.notes.deletions}
        if work == REVERT:
            return (random.choice(sorted(ids - self.notes.reverted)),)
        if work == REINSTATE:
            return (random.choice(sorted(self.notes.reverted or ids)),)
        if work == PURGE and random.random() > _ALL_ARE_PURGED:
            return tuple(random.sample(self._skus, min(_PURGED_SKUS, len(self._skus))))
        return ()

    def check_atomicity(self, found: Mapping[str, list[tuple[Any, ...]]], notes: Notes) -> None:
        """At any moment, the tables are exactly those of the deliveries that the ledger tells.

        Args:
            found: the tables.
            notes: what the raw zone told after that.
        """
        self._learn_times(notes)
        self._check_asked(notes)
        self._check_tables(found, notes)

    def check_end(
        self,
        found: Mapping[str, list[tuple[Any, ...]]],
        notes: Notes,
        *,
        made_anew: bool = False,
    ) -> None:
        """When all work is done, everything is in or out, as the raw zone tells; all laws hold.

        Args:
            found: the tables.
            notes: what the raw zone told after that.
            made_anew: whether the database knows only what the raw zone still has.
        """
        self._learn_times(notes)
        self._check_asked(notes)
        self._check_tables(found, notes)
        expected = {file.delivery_id for file in self.files} | notes.deletions.keys()
        unknown = expected - {row[0] for row in found["ledger"]}
        assert unknown <= (notes.pruned if made_anew else set())
        assert {row[0] for row in found["ledger"] if row[5] == "reverted"} == (
            notes.reverted - unknown
        )
        for begin, whole in self.completed:
            about = {begin.delivery_id, whole.delivery_id}
            is_asked_for = self.asked is not None and about.intersection(self.asked.arguments)
            assert begin.delivery_id in notes.reverted or is_asked_for or notes.pruned
        self.notes, self.asked, self.completed = notes, None, []

    def _learn_times(self, notes: Notes) -> None:
        """Have files whose source is ahead of time have the time of their landing."""
        for place, file in enumerate(self.files):
            if file.microseconds >= AHEAD:
                digest = file.delivery_id.rpartition("#")[2]
                at = notes.times.get((file.key, digest, file.microseconds), file.microseconds)
                self.files[place] = replace(file, microseconds=at)

    def _check_asked(self, notes: Notes) -> None:
        """There is nothing that was not asked for, and all that was done before."""
        work, arguments = (self.asked.work, self.asked.arguments) if self.asked else (None, ())
        changed = {begin.delivery_id for begin, _ in self.completed}
        changed |= set(arguments) if work in {REVERT, REINSTATE} else set()
        assert notes.reverted ^ self.notes.reverted <= changed
        assert work == PRUNE or notes.pruned <= self.notes.pruned
        assert notes.pruned <= {file.delivery_id for file in self.files}
        assert self.notes.deletions.items() <= notes.deletions.items()
        new = [notes.deletions[id_] for id_ in notes.deletions.keys() - self.notes.deletions.keys()]
        assert len(new) <= (work == PURGE)
        for one in new:
            every = set(arguments or self._skus)
            assert one.skus <= every
            assert not arguments or one.skus in (every, {arguments[0]})

    def _check_tables(self, found: Mapping[str, list[tuple[Any, ...]]], notes: Notes) -> None:
        status = {row[0]: row[5] for row in found["ledger"]}
        assert len(status) == len(found["ledger"])
        assert status.keys() <= {file.delivery_id for file in self.files} | notes.deletions.keys()
        assert set(status.values()) <= {"merged", "reverted"}
        files = [one for one in self.files if status.get(one.delivery_id) == "merged"]
        deletions = [
            one for one in notes.deletions.values() if status.get(one.delivery_id) == "merged"
        ]
        ids = {file.delivery_id for file in files}
        of_files = [row for row in found["ledger"] if row[0] in ids]
        assert_tables_match(files, {**found, "ledger": of_files}, deletions)
        assert found["deletions"] == expected_deletions(deletions)

    @property
    def _skus(self) -> Sequence[str]:
        return sorted({sku for file in self.files for sku in file.winners})


def _is_begin(begin: Version, whole: Version) -> bool:
    return begin.size is not None and replace(begin, size=None).content == whole.content


class Drops:
    """The files that are dropped into one folder, the same ones for the same random numbers.

    They overlap in names, times, bytes and skus; in half of the folders, a sku is of one partition.
    A version of a partition may be older than one before, newer than all purges, of the future, or
    the begin of the next one.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._skus_are_shared = random.random() < 0.5
        self._dropped: dict[str, list[File]] = {key: [] for key in KEYS}
        self._begun: dict[str, Version] = {}

    def next(self, number: int, *, large: bool) -> list[File]:
        """As many files of as many partitions; maybe a large one among them."""
        keys = self._random.sample(KEYS, number)
        return [self._next_of(key, large=large and key == keys[0]) for key in keys]

    def _next_of(self, key: str, *, large: bool) -> File:
        earlier, random = self._dropped[key], self._random
        taken = {file.microseconds for file in earlier}
        microseconds = random.choice([at for at in range(1, 200) if at not in taken])
        later = next(at for at in count(AT_THE_DROP) if at not in taken)
        microseconds = random.choice([*[microseconds] * 4, later, AHEAD + len(earlier)])
        again = random.random()
        if key in self._begun:
            file = replace(self._begun.pop(key), microseconds=later, size=None)
        elif again > 1 - _BEGUN and not large:
            file = self._begin(Version(key, later, (self._row(key, "x"), *self._rows(key))))
            self._begun[key] = file
        elif earlier and again < 0.25:
            newest = max(earlier, key=lambda file: file.microseconds)
            after = next(at for at in count(newest.microseconds + 1) if at not in taken)
            file = replace(newest, microseconds=after)
        elif earlier and again < 0.4:
            file = replace(random.choice(earlier), microseconds=microseconds)
        else:
            rows = self._large_rows(key) if large else self._rows(key)
            packing = "plain" if large else random.choice(_PACKINGS)
            file = File(key, microseconds, rows, PACKINGS[packing])
        earlier.append(file)
        return file

    def _begin(self, whole: Version) -> Version:
        """A begin of a version that ends within a record."""
        sizes = range(len(whole.texts[0]), len(whole.content))
        inside = [size for size in sizes if whole.ends_in_a_record(size)]
        return replace(whole, size=self._random.choice(inside))

    def _rows(self, key: str) -> tuple[Row, ...]:
        random = self._random
        dirty = random.random() > _CLEAN_SHARE
        number = random.randint(0, _MOST_ROWS)
        rows = [self._row(key, f"d{random.randrange(3)}") for _ in range(number)]
        for number in range(len(rows) if dirty else 0):
            wrong = [("", *rows[number][1:]), rows[number][:1], (" s1 ", *rows[number][1:])]
            rows[number] = random.choice([rows[number]] * 12 + wrong)
        return tuple(rows)

    def _large_rows(self, key: str) -> tuple[Row, ...]:
        description = "".join(self._random.choices("abcdefgh ", k=LARGE_BYTES // _LARGE_ROWS))
        return tuple(self._row(key, f"{description}{number}") for number in range(_LARGE_ROWS))

    def _row(self, key: str, description: str) -> Row:
        random, whose = self._random, "" if self._skus_are_shared else key
        return f"{whose}s{random.randrange(_SKUS)}", f"n{random.randrange(_NAMES)}", description
