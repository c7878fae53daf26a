"""What was dropped into a data folder and asked of it, and the checks of what it holds then."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from testing.expected_tables import (
    Deletion,
    File,
    assert_tables_match,
    expected_deletions,
    expected_rejects,
    order_of,
)
from testing.raw_folder import EPOCH, ids_with, path_of, read_deletion
from verification.crash.drops import AHEAD
from verification.crash.worker import DISMISS, PRUNE, PURGE, REINSTATE, REVERT, Job
from verification.histories.rules import Version

_PURGED_SKUS = 12
_PURGE_ALL_SHARE = 0.1


@dataclass(frozen=True)
class Marks:
    """What a raw zone records of operators' work: ids of deliveries.

    Attributes:
        deletions: that have landed, by id.
        reverted: deliveries whose desired state is reverted.
        pruned: deliveries without bytes.
        dismissed: digests of dismissed rejects, by delivery.
        times: of versions that have another time than their source states, that time in
            microseconds, by their partition, the begin of their digest, and the stated time.
    """

    deletions: Mapping[str, Deletion] = field(default_factory=dict)
    reverted: frozenset[str] = frozenset()
    pruned: frozenset[str] = frozenset()
    dismissed: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[tuple[str, str, int], int] = field(default_factory=dict)


def marks_in(raw: Path) -> Marks:
    """Read the marks in a raw zone without the pipeline."""
    paths = list(raw.glob("*/[!.]*.json"))
    records = {path: json.loads(path.read_bytes()) for path in paths}
    deletions = [
        read_deletion(path.with_suffix(".raw"))
        for path, record in records.items()
        if record["kind"] == "deletion"
    ]
    return Marks(
        deletions={deletion.delivery_id: deletion for deletion in deletions},
        reverted=ids_with(raw, ".reverted"),
        pruned=ids_with(raw, ".pruned"),
        dismissed={
            id_: path_of(raw, id_, ".rejects").read_text() for id_ in ids_with(raw, ".rejects")
        },
        times={
            (record["partition_key"], record["sha256"][:16], _microseconds(record["stated_at"])): (
                _microseconds(record["delivered_at"])
            )
            for record in records.values()
            if "stated_at" in record
        },
    )


def _microseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - EPOCH) // timedelta(microseconds=1)


@dataclass
class History:
    """What was meant to happen in a data folder, which its tables are checked against.

    An operator's work that was killed is done, or not begun; the raw zone shows which. It has no
    marks but those that were asked for.

    Attributes:
        files: all that were dropped so far.
        marks: of operators' work so far.
        asked: an operator's work that may have been done since.
        completed: unfinished uploads before this round, and the versions that complete them now.
    """

    files: list[File] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    asked: Job | None = None
    completed: list[tuple[Version, Version]] = field(default_factory=list)

    def drop(self, file: File) -> None:
        """Note that a file was dropped, and whether it completes the newest version before."""
        known = [other for other in self.files if other.key == file.key]
        newest = max(known, key=order_of, default=None)
        if isinstance(file, Version) and isinstance(newest, Version) and _is_begin(newest, file):
            self.completed.append((newest, file))
        self.files.append(file)

    def draw(self, work: str, random: Random) -> tuple[str, ...]:
        """Draw the arguments of an operator's job."""
        known = [file for file in self.files if file.microseconds < AHEAD]
        ids = {*(file.delivery_id for file in known), *self.marks.deletions}
        if work == REVERT:
            return (random.choice(sorted(ids - self.marks.reverted)),)
        if work == REINSTATE:
            return (random.choice(sorted(self.marks.reverted or ids)),)
        if work == DISMISS:
            newest = {file.key: file for file in sorted(known, key=order_of)}
            rejects = {id_ for id_, _ in expected_rejects(newest.values())}
            open_ = rejects - self.marks.reverted - self.marks.dismissed.keys()
            return (random.choice(sorted(open_ or ids)),)
        if work == PURGE and random.random() > _PURGE_ALL_SHARE:
            return tuple(random.sample(self._skus, min(_PURGED_SKUS, len(self._skus))))
        return ()

    def check_atomicity(self, found: Mapping[str, list[tuple[Any, ...]]], marks: Marks) -> None:
        """Assert that the tables are exactly those of the deliveries in the ledger, at any time.

        The marks are read after the tables.
        """
        self._learn_times(marks)
        self._check_asked(marks)
        self._check_tables(found, marks)

    def check_end(
        self, found: Mapping[str, list[tuple[Any, ...]]], marks: Marks, *, is_rebuilt: bool = False
    ) -> None:
        """Assert that, when all work is done, every delivery has its desired state.

        A rebuilt database has seen only what the raw zone still has.
        """
        self.check_atomicity(found, marks)
        expected = {file.delivery_id for file in self.files} | marks.deletions.keys()
        unknown = expected - {row[0] for row in found["ledger"]}
        assert unknown <= (marks.pruned if is_rebuilt else set())
        assert {row[0] for row in found["ledger"] if row[5] == "reverted"} == (
            marks.reverted - unknown
        )
        for begin, whole in self.completed:
            about = {begin.delivery_id, whole.delivery_id}
            is_asked_for = self.asked is not None and about.intersection(self.asked.arguments)
            assert begin.delivery_id in marks.reverted or is_asked_for or marks.pruned
        self.marks, self.asked, self.completed = marks, None, []

    def _learn_times(self, marks: Marks) -> None:
        """Give files that are dropped with a time of the future the time of their landing."""
        for position, file in enumerate(self.files):
            if file.microseconds >= AHEAD:
                digest = file.delivery_id.rpartition("#")[2]
                at = marks.times.get((file.key, digest, file.microseconds), file.microseconds)
                self.files[position] = replace(file, microseconds=at)

    def _check_asked(self, marks: Marks) -> None:
        """Assert that all earlier work is still marked, and no work that was not asked for."""
        work, arguments = (self.asked.work, self.asked.arguments) if self.asked else (None, ())
        changed = {begin.delivery_id for begin, _ in self.completed}
        changed |= set(arguments) if work in {REVERT, REINSTATE} else set()
        assert marks.reverted ^ self.marks.reverted <= changed
        dismissals = self.marks.dismissed.items() ^ marks.dismissed.items()
        changed = set(arguments) if work in {DISMISS, REINSTATE} else set()
        assert {id_ for id_, _ in dismissals} <= changed
        assert work == PRUNE or marks.pruned <= self.marks.pruned
        assert marks.pruned <= {file.delivery_id for file in self.files}
        assert self.marks.deletions.items() <= marks.deletions.items()
        new = [marks.deletions[id_] for id_ in marks.deletions.keys() - self.marks.deletions.keys()]
        assert len(new) <= (work == PURGE)
        for deletion in new:
            every = set(arguments or self._skus)
            assert deletion.skus <= every
            assert not arguments or deletion.skus in (every, {arguments[0]})

    def _check_tables(self, found: Mapping[str, list[tuple[Any, ...]]], marks: Marks) -> None:
        status = {row[0]: row[5] for row in found["ledger"]}
        assert len(status) == len(found["ledger"])
        assert status.keys() <= {file.delivery_id for file in self.files} | marks.deletions.keys()
        assert set(status.values()) <= {"merged", "reverted"}
        files = [file for file in self.files if status.get(file.delivery_id) == "merged"]
        deletions = [
            deletion for id_, deletion in marks.deletions.items() if status.get(id_) == "merged"
        ]
        ids = {file.delivery_id for file in files}
        of_files = [row for row in found["ledger"] if row[0] in ids]
        assert_tables_match(files, {**found, "ledger": of_files}, deletions)
        assert found["deletions"] == expected_deletions(deletions)
        dismissed = {(id_, digest) for id_, digest in marks.dismissed.items() if id_ in ids}
        assert dismissed <= set(found["digests"])  # Else a dismissal would not count any more.

    @property
    def _skus(self) -> Sequence[str]:
        return sorted({sku for file in self.files for sku in file.winners})


def _is_begin(begin: Version, whole: Version) -> bool:
    return begin.size is not None and replace(begin, size=None).content == whole.content
