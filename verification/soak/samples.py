"""Samples, taken every few seconds: memory, files, threads, disk, runs."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg

from verification.soak.servers import Usage, usages

_BLOCK_BYTES = 512

_FOLDERS = {
    "inbox": ("data/inbox",),
    "raw zone": ("data/raw",),
    "database": ("data/products.duckdb",),
    "its log": ("data/products.duckdb.wal",),
    "published copy": ("data/published",),
    "work": ("data/work",),
    "feed memory": ("data/feeds",),
    "all of data/": ("data",),
    "runs.db": ("home/history/runs.db", "home/history/runs.db-wal"),
    "event logs": ("home/history/runs",),
    "of them the index": ("home/history/runs/index.db", "home/history/runs/index.db-wal"),
    "compute logs": ("home/storage",),
    "ticks": ("home/schedules",),
    "all of DAGSTER_HOME": ("home",),
    "console": ("dagster.log",),
}


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        at: its time, in seconds since the epoch.
        disk: bytes on disk, by purpose.
        runs: their number by status.
        pending: the number of dropped versions that are not ingested yet.
        dropped: the number of versions dropped so far.
    """

    at: float
    usages: Mapping[str, Usage]
    disk: Mapping[str, int]
    runs: Mapping[str, int]
    pending: int
    dropped: int


def take_sample(
    root: int, folder: Path, instance: dg.DagsterInstance, pending: int, dropped: int
) -> Sample:
    """Take a sample of `dagster dev`, whose process id is `root`."""
    disk = {
        name: sum(disk_bytes(folder / path) for path in paths) for name, paths in _FOLDERS.items()
    }
    return Sample(time.time(), usages(root), disk, run_counts(instance), pending, dropped)


def run_counts(instance: dg.DagsterInstance) -> dict[str, int]:
    """Return the number of runs by status, where there are any."""
    counts = {
        status.value: instance.get_runs_count(dg.RunsFilter(statuses=[status]))
        for status in dg.DagsterRunStatus
    }
    return {status: runs for status, runs in counts.items() if runs}


def disk_bytes(path: Path) -> int:
    """Return the bytes on disk of a file, or of a folder with its contents; 0 if it is missing."""
    try:
        total = path.lstat().st_blocks * _BLOCK_BYTES
        if path.is_dir():
            total += sum(disk_bytes(Path(entry.path)) for entry in os.scandir(path))
    except FileNotFoundError:  # It was removed meanwhile.
        return 0
    return total


def write_sample(sample: Sample, path: Path) -> None:
    """Append a sample to a file."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(sample)) + "\n")
