"""The plan of the inbox sensor: a pure function from inbox files and run history to runs."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lfp_pipeline.common.text import preview
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.sources.inbox import InboxFile, Listing, size_of

MAX_OPEN_RUNS = 2
"""Limit of runs of the sensor that are queued or in progress, on one machine.

The `dagster.yaml` of the templates has the same limit, for runs in progress.
"""

FileVersion = tuple[str, str]
"""Partition key and version of a file."""


@dataclass(frozen=True)
class RunHistory:
    """The results of earlier runs, by file version.

    Attributes:
        merged: merged versions.
        refused: refused versions; a retry changes nothing.
        reverted: versions that an operator reverted.
        running: versions of a run that is in progress or queued, or of a reversal in progress.
        open_runs: the versions of each of the sensor's runs that is in progress or queued.
        attempts: number of runs of the sensor.
        busy: number of those that do not count as failed attempts: another process had the database
            open, or the file was still being written.
        backing_off: versions whose last busy run was too recent for another run.
    """

    merged: AbstractSet[FileVersion] = frozenset()
    refused: AbstractSet[FileVersion] = frozenset()
    reverted: AbstractSet[FileVersion] = frozenset()
    running: AbstractSet[FileVersion] = frozenset()
    open_runs: Sequence[Collection[FileVersion]] = ()
    attempts: Mapping[FileVersion, int] = field(default_factory=dict)
    busy: Mapping[FileVersion, int] = field(default_factory=dict)
    backing_off: AbstractSet[FileVersion] = frozenset()


@dataclass(frozen=True)
class RunLimits:
    """Limits of runs.

    Attributes:
        max_attempts: limit of runs for one version of a file.
        large_bytes: a file that is larger shares a run with other large files only.
        batch_files: limit of the number of files that share a run.
        open_runs: limit of runs that are queued or in progress. One of them is for small files.
        spread_files: small files are spread over several runs, of at least so many files; 0: files
            of a kind share a run.
    """

    max_attempts: int
    large_bytes: int
    batch_files: int
    open_runs: int = MAX_OPEN_RUNS
    spread_files: int = 0


@dataclass(frozen=True)
class RunBatch:
    """Files that share a run, with the number of the attempt for each."""

    files: tuple[InboxFile, ...]
    attempts: tuple[int, ...]

    @property
    def run_key(self) -> str:
        """The run key: a digest of the versions and attempts."""
        text = "\n".join(
            f"{file.name}\t{file.version}\t{file.ctime_ns}\t{attempt}"
            for file, attempt in zip(self.files, self.attempts, strict=True)
        )
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class InboxPlan:
    """The runs to request, and why other files are not requested.

    Attributes:
        batches: the runs to request.
        waiting: number of due files that wait until an open run ends, and then share a run.
    """

    batches: tuple[RunBatch, ...]
    waiting: int
    still_writing: int
    running: int
    backing_off: int
    merged: int
    refused: tuple[str, ...]
    reverted: tuple[str, ...]
    needing_attention: tuple[str, ...]
    left_out: str

    @property
    def summary(self) -> str:
        """The plan as one line, which begins with what people have to do."""
        new = sum(len(batch.files) for batch in self.batches) + self.waiting
        failed = f"needing attention: {preview(self.needing_attention)}; they failed repeatedly"
        set_aside = f"{preview(self.reverted)}; `lfp reinstate` merges"
        counts = (
            (len(self.needing_attention), f"{failed}, run `lfp ingest`"),
            (len(self.refused), f"refused: {preview(self.refused)}; fix and drop again"),
            (new, "new"),
            (self.waiting, "collected for the next run"),
            (self.running, "running"),
            (self.still_writing, "still being written"),
            (self.backing_off, "waiting because another process had the database open"),
            (len(self.reverted), f"reverted or dismissed: {set_aside}"),
            (self.merged, "merged"),
        )
        parts = [f"{number:,} {what}" for number, what in counts if number]
        if PURGES in self.refused:
            parts.insert(0, f"The name {PURGES} is reserved for `lfp purge`; rename that file")
        if self.left_out:
            parts.append(f"In the inbox, {self.left_out}")
        return ". ".join(parts or ["The inbox is empty"]) + "."


def decide(
    listing: Listing,
    history: RunHistory,
    limits: RunLimits,
    set_apart: Callable[[Listing, Sequence[InboxFile], int], Listing],
) -> InboxPlan:
    """Return the plan for a listing of the inbox.

    A new version of a file is due, and one with fewer failed runs than the limit. Due files share a
    run; while too many runs are open, files are collected for the next one. `set_apart` opens due
    files up to a number of them that can be ingested now, and returns the listing of these.
    """
    due: list[InboxFile] = []
    merged = running = backing_off = 0
    refused: list[str] = []
    reverted: list[str] = []
    needing_attention: list[str] = []
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
        elif history.attempts.get(version, 0) - history.busy.get(version, 0) >= limits.max_attempts:
            needing_attention.append(file.name)
        else:
            due.append(file)
    batches, opened = _batches(due, listing, history, limits, set_apart)
    apart = len(opened.still_writing) + len(opened.skipped)
    apart -= len(listing.still_writing) + len(listing.skipped)
    return InboxPlan(
        batches=batches,
        waiting=len(due) - apart - sum(len(batch.files) for batch in batches),
        still_writing=len(opened.still_writing),
        running=running,
        backing_off=backing_off,
        merged=merged,
        refused=tuple(refused),
        reverted=tuple(reverted),
        needing_attention=tuple(needing_attention),
        left_out=opened.left_out,
    )


def _batches(
    due: Sequence[InboxFile],
    listing: Listing,
    history: RunHistory,
    limits: RunLimits,
    set_apart: Callable[[Listing, Sequence[InboxFile], int], Listing],
) -> tuple[tuple[RunBatch, ...], Listing]:
    """Return batches of large files, and of small ones, as far as runs may be open.

    Large files wait for large files only, and get a free run first, so that neither kind of files
    can keep the other waiting. The listing names the files that cannot be ingested now, as far as
    files were opened.
    """
    large = [file for file in due if file.size_bytes > limits.large_bytes]
    small = [file for file in due if file.size_bytes <= limits.large_bytes]
    running_large = sum(
        any(size_of(version) > limits.large_bytes for _, version in run)
        for run in history.open_runs
    )
    free = limits.open_runs - len(history.open_runs)
    free_for_large = min(free, limits.open_runs - 1 - running_large)
    batches: list[RunBatch] = []
    for files, runs, least in (
        (large, free_for_large, 1),
        (small, free, limits.spread_files),
    ):
        limit = min(runs, free - len(batches), runs if limits.spread_files else 1)
        if files and limit > 0:
            listing = set_apart(listing, files, limits.batch_files * limit)
            parts = min(limit, -(-len(listing.ready) // least)) if limits.spread_files else 1
            shares = (listing.ready[start::parts] for start in range(parts))
            batches += [_batch(share, history) for share in shares if share]
    return tuple(batches), listing


def _batch(files: Sequence[InboxFile], history: RunHistory) -> RunBatch:
    tried = [history.attempts.get((file.partition_key, file.version), 0) for file in files]
    return RunBatch(tuple(files), tuple(number + 1 for number in tried))
