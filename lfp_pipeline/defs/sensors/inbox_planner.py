"""What to do about the files in the inbox: a pure function from what is there to what to run."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice

from lfp_pipeline.common.text import preview
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.sources.inbox import InboxFile, Listing

MAX_BATCHES_A_TICK = 50

FileVersion = tuple[str, str]
"""Partition key and version: what a run is asked for, and what is remembered of it."""


@dataclass(frozen=True)
class RunHistory:
    """What is known of the versions of files.

    Attributes:
        merged: those that are in.
        refused: those that were refused; trying again changes nothing.
        reverted: those that people had taken out again.
        running: those that a run is at, or waits in the queue for; a reversal is one, too.
        attempts: how many runs of the sensor there were for a version.
        busy: how many of them were no attempts, because the database was in other hands, or because
            the file was being written.
        backing_off: those whose last such run was a short time ago.
    """

    merged: AbstractSet[FileVersion] = frozenset()
    refused: AbstractSet[FileVersion] = frozenset()
    reverted: AbstractSet[FileVersion] = frozenset()
    running: AbstractSet[FileVersion] = frozenset()
    attempts: Mapping[FileVersion, int] = field(default_factory=dict)
    busy: Mapping[FileVersion, int] = field(default_factory=dict)
    backing_off: AbstractSet[FileVersion] = frozenset()


@dataclass(frozen=True)
class RunLimits:
    """How runs are cut.

    Attributes:
        max_attempts: runs for one version of a file.
        batch_bytes: files up to this size in all share a run.
        batch_files: as many at most.
    """

    max_attempts: int
    batch_bytes: int
    batch_files: int


@dataclass(frozen=True)
class RunBatch:
    """Files that share a run, and which attempt it is for each."""

    files: tuple[InboxFile, ...]
    attempts: tuple[int, ...]

    @property
    def run_key(self) -> str:
        """Names these versions and attempts, and so this run, for ever."""
        told = "\n".join(
            f"{file.name}\t{file.version}\t{file.ctime_ns}\t{attempt}"
            for file, attempt in zip(self.files, self.attempts, strict=True)
        )
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class InboxPlan:
    """What to run, and what is left alone and why."""

    batches: tuple[RunBatch, ...]
    waiting: int
    still_writing: int
    running: int
    backing_off: int
    merged: int
    refused: tuple[str, ...]
    reverted: tuple[str, ...]
    given_up: tuple[str, ...]
    left_out: str

    @property
    def summary(self) -> str:
        """All of it in a line."""
        new = sum(len(batch.files) for batch in self.batches) + self.waiting
        text = (
            f"{new} new, {self.still_writing} still being written, {self.running} running, "
            f"{self.merged} merged, {len(self.refused)} refused, "
            f"{len(self.given_up)} needing attention"
        )
        if self.backing_off:
            text += f". {self.backing_off} waiting because another process had the database open"
        if self.refused:
            text += f". Refused: {preview(self.refused)}; fix and drop again"
        if PURGES in self.refused:
            text += (
                f". The name {PURGES} is reserved for purge_products; rename that file"
            )
        if self.reverted:
            text += f". Reverted: {preview(self.reverted)}; revert_delivery reinstates"
        if self.given_up:
            text += (
                f". Needing attention after repeated failures: {preview(self.given_up)}; "
                "run ingest_inbox"
            )
        if self.left_out:
            text += f". In the inbox, {self.left_out}"
        return text + "."


def decide(
    listing: Listing,
    history: RunHistory,
    limits: RunLimits,
    set_apart: Callable[[Listing, Sequence[InboxFile]], Listing],
) -> InboxPlan:
    """What to do about a listing of the inbox.

    A version of a file that is new, or whose runs have failed too few times, is due. Large files
    get a run each; small ones share.

    Args:
        listing: what is in the inbox.
        history: what became of it before.
        limits: how runs are cut.
        set_apart: of files that are due otherwise, tells those that cannot be taken in now.
    """
    due: list[InboxFile] = []
    merged = running = backing_off = 0
    refused: list[str] = []
    reverted: list[str] = []
    given_up: list[str] = []
    for file in listing.ready:
        version = (file.partition_key, file.version)
        if version in history.merged:
            merged += 1
        elif version in history.running:
            running += 1
        elif version in history.refused or file.partition_key == PURGES:
            refused.append(file.name)
        elif version in history.reverted:
            reverted.append(file.name)
        elif version in history.backing_off:
            backing_off += 1
        elif _failed_attempts(version, history) >= limits.max_attempts:
            given_up.append(file.name)
        else:
            due.append(file)
    looked_at = set_apart(listing, due)
    attempts = [
        (file, history.attempts.get((file.partition_key, file.version), 0) + 1)
        for file in looked_at.ready
    ]
    batches = tuple(islice(_batches(attempts, limits), MAX_BATCHES_A_TICK))
    return InboxPlan(
        batches=batches,
        waiting=len(attempts) - sum(len(batch.files) for batch in batches),
        still_writing=len(looked_at.still_writing),
        running=running,
        backing_off=backing_off,
        merged=merged,
        refused=tuple(refused),
        reverted=tuple(reverted),
        given_up=tuple(given_up),
        left_out=looked_at.left_out,
    )


def _failed_attempts(version: FileVersion, history: RunHistory) -> int:
    return history.attempts.get(version, 0) - history.busy.get(version, 0)


def _batches(due: Sequence[tuple[InboxFile, int]], limits: RunLimits) -> Iterator[RunBatch]:
    """Cut what is due, in order, wherever the next file would make a batch too large."""
    batch: list[tuple[InboxFile, int]] = []
    size = 0
    for file, attempt in due:
        full = size + file.size_bytes > limits.batch_bytes or len(batch) >= limits.batch_files
        if batch and full:
            yield _batch(batch)
            batch, size = [], 0
        batch.append((file, attempt))
        size += file.size_bytes
    if batch:
        yield _batch(batch)


def _batch(files: Sequence[tuple[InboxFile, int]]) -> RunBatch:
    return RunBatch(tuple(file for file, _ in files), tuple(attempt for _, attempt in files))
