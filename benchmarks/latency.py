"""Seconds from a drop to the rows, in units of an empty job that is measured meanwhile.

    python -m benchmarks.latency                                # everything, about ten minutes
    python -m benchmarks.latency --what small,job --rounds 5

`small`, `large` and `stream` drop files into the inbox that a `dagster dev` watches, by a rename:
one after the other, at random moments, or one per second. `job` measures a whole `dagster job
execute` of a large file. An empty job is `dagster job execute -j ingest_inbox` with an empty inbox.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import floor, ours
from benchmarks.answers import Answer
from benchmarks.dagster_command import dagster_dev, execute_job, prepared_instance
from benchmarks.machine import describe_machine
from benchmarks.measure import measure
from benchmarks.samples import Samples

_SMALL_ROWS = 1_000
_LARGE_ROWS = 500_000
_LONGEST_WAIT_SECONDS = 180.0
_LOOK_SECONDS = 0.02
_TICK_SECONDS = 5.0
"""The daemon's pause between ticks: drops are spread over it."""

_WHAT = ("small", "large", "stream", "job")


@dataclass
class Seconds:
    """What was measured.

    Attributes:
        commit: from each drop to the commit.
        published: from each drop until readers of the published copy see the rows.
        empty: of the empty jobs meanwhile.
    """

    commit: list[float] = field(default_factory=list)
    published: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)

    def show(self, what: str) -> None:
        """Print medians and 99th percentiles, in seconds and in empty jobs."""
        unit = statistics.median(self.empty)
        print(f"{what}: an empty job takes {unit:.2f} s (median of {len(self.empty)})")
        for name, seconds in (("commit", self.commit), ("published", self.published)):
            if seconds:
                p99 = sorted(seconds)[round(0.99 * (len(seconds) - 1))]
                middle = statistics.median(seconds)
                print(
                    f"  to {name:<9} median {middle:6.2f} s = {middle / unit:5.2f}   "
                    f"p99 {p99:6.2f} s = {p99 / unit:5.2f}   of {len(seconds)} drops"
                )


@dataclass(frozen=True)
class Bench:
    """A running `dagster dev` on an empty data folder, and an instance for empty jobs."""

    folder: Path

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    def empty_job(self) -> float:
        """Return the seconds of an empty job."""
        settings = {"LFP_DATA_DIR": str(self.folder / "nothing")}
        started = time.perf_counter()
        execute_job(self.folder / "other", "lfp_pipeline.definitions", "ingest_inbox", settings)
        return time.perf_counter() - started

    def drop(self, file: Path) -> tuple[str, float]:
        """Move a copy of a file into the inbox; return its name there and the time."""
        outside = self.folder / file.name
        shutil.copy(file, outside)
        os.utime(outside)
        outside.rename(self.data / "inbox" / file.name)
        return file.name, time.time()

    def committed_at(self, name: str) -> float:
        """Return the time of the commit of a file, as soon as there is one."""
        notes = self.data / "raw" / name
        return _until(
            lambda: max((_changed_at(note) for note in notes.glob("*.outcome")), default=0)
        )

    def published_at(self, committed_at: float) -> float:
        """Return the time at which readers see what was committed, as soon as they do."""
        record = self.data / "published" / "products.duckdb.json"

        def ended_at() -> float:
            try:
                last = json.loads(record.read_bytes())
            except (OSError, ValueError):
                return 0.0
            return float(last["ended_at"]) if last["copied_at"] > committed_at else 0.0

        return _until(ended_at)


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


def _until(found: Callable[[], float]) -> float:
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not (result := found()):
        if time.monotonic() > deadline:
            msg = f"Nothing came of a file within {_LONGEST_WAIT_SECONDS:.0f} s."
            raise TimeoutError(msg)
        time.sleep(_LOOK_SECONDS)
    return result


@contextmanager
def _bench(folder: Path) -> Iterator[Bench]:
    for name in ("instance", "other"):
        prepared_instance(folder / name)
    bench = Bench(folder)
    (bench.data / "inbox").mkdir(parents=True)
    bench.empty_job()  # Fills the caches of the system.
    with dagster_dev(folder / "instance", {"LFP_DATA_DIR": str(bench.data)}):
        yield bench


def one_by_one(bench: Bench, files: Sequence[Path], chance: random.Random) -> Seconds:
    """Drop each file at a random moment, and wait for it; measure an empty job after each."""
    seconds = Seconds()
    for file in files:
        time.sleep(chance.uniform(0, _TICK_SECONDS))
        name, dropped_at = bench.drop(file)
        committed_at = bench.committed_at(name)
        seconds.commit.append(committed_at - dropped_at)
        seconds.published.append(bench.published_at(committed_at) - dropped_at)
        time.sleep(1)  # The run ends.
        seconds.empty.append(bench.empty_job())
        print(f"  {name}: {seconds.commit[-1]:.2f} s, {seconds.published[-1]:.2f} s", flush=True)
    return seconds


def one_a_second(bench: Bench, files: Sequence[Path]) -> Seconds:
    """Drop a file per second; measure empty jobs before the first and after the last commit."""
    seconds = Seconds(empty=[bench.empty_job(), bench.empty_job()])
    dropped = []
    started = time.monotonic()
    for number, file in enumerate(files):
        time.sleep(max(0.0, started + number - time.monotonic()))
        dropped.append(bench.drop(file))
    seconds.commit = [bench.committed_at(name) - at for name, at in dropped]
    seconds.empty += [bench.empty_job(), bench.empty_job()]
    return seconds


def whole_job(folder: Path, samples: Samples, rounds: int) -> None:
    """Measure a job of a large file, empty jobs and bare loads in turn, and print medians."""
    sample = samples.plain(_LARGE_ROWS)
    right = Answer(sample.skus, sample.skus, sample.names)
    instance = prepared_instance(folder / "job-instance")
    bench = Bench(folder / "jobs")
    shutil.copytree(instance, bench.folder / "other")
    works = {
        "job": partial(ours.inbox_job, instance, [sample.path], right),
        "job of a .zip": partial(
            ours.inbox_job, instance, [samples.packed(_LARGE_ROWS, "zip").path], right
        ),
        "empty job, Dagster's alone": partial(floor.empty_job, instance),
        "bare load": partial(floor.bare_load, sample),
    }
    found: dict[str, list[float]] = {"empty job": [], **{name: [] for name in works}}
    bench.empty_job()
    for _ in range(rounds):
        found["empty job"].append(bench.empty_job())
        for name, work in works.items():
            (step,) = measure(work, folder / "scratch")
            if step.wrong:
                raise RuntimeError(step.wrong)
            found[name].append(step.seconds)
    middle = {name: statistics.median(seconds) for name, seconds in found.items()}
    print(f"whole job, {_LARGE_ROWS:,} rows, {sample.path.stat().st_size / 1e6:.0f} MB:")
    for name, seconds in middle.items():
        print(f"  {name:<27} {seconds:6.2f} s")
    for empty in ("empty job", "empty job, Dagster's alone"):
        loads = (middle["job"] - middle[empty]) / middle["bare load"]
        print(f"  job = {empty} + {loads:.2f} bare loads")


def main() -> int:
    """Measure what is requested; print the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--what", default="all", help=f"of {','.join(_WHAT)}")
    parser.add_argument("--drops", type=int, default=10, help="small files")
    parser.add_argument("--large", type=int, default=5, help="large files")
    parser.add_argument("--seconds", type=int, default=180, help="of the stream")
    parser.add_argument("--rounds", type=int, default=5, help="of the whole job")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the drops")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for samples")
    given = parser.parse_args()
    what = _WHAT if given.what == "all" else given.what.split(",")
    samples = Samples(given.out.resolve() / "samples")
    small = sorted(samples.many(max(given.drops + given.seconds, 200), _SMALL_ROWS).path.iterdir())
    chance = random.Random(given.seed)  # noqa: S311 (no secret)
    for name, value in describe_machine().items():
        print(f"{name}: {value}")
    with TemporaryDirectory(dir=given.out) as folder:
        if {"small", "large", "stream"} & set(what):
            with _bench(Path(folder).resolve()) as bench:
                if "small" in what:
                    one_by_one(bench, small[: given.drops], chance).show("1,000 rows")
                if "large" in what:
                    seeds = range(11, 11 + given.large)
                    large = [samples.plain(_LARGE_ROWS, seed).path for seed in seeds]
                    one_by_one(bench, large, chance).show("500,000 rows")
                if "stream" in what:
                    files = small[given.drops : given.drops + given.seconds]
                    one_a_second(bench, files).show(f"a file per second, {given.seconds} s")
        if "job" in what:
            whole_job(Path(folder).resolve(), samples, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
