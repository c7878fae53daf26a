"""Runs `dagster dev` under load, with readers, changing feeds and kills of run workers."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import dagster as dg
import httpx

from benchmarks.dagster_command import execute_job, prepared_instance
from examples.processes import Dagster, Feed, dagster_dev, feed_server
from examples.two_feeds import write_products
from lfp_pipeline.engine import Engine
from lfp_pipeline.settings import Settings
from testing.processes import PROJECT
from testing.raw_folder import path_of
from verification.soak.reader import Look
from verification.soak.samples import Sample, take_sample, write_sample
from verification.soak.servers import run_workers
from verification.soak.versions import NAMES, Dropping

MAX_ATTEMPTS = 10
"""The limit for one version of a file. All three of the default may be killed here."""

READERS = 2
FEEDS = {"shop-a": range(300), "shop-b": range(150, 450)}

_PAUSES = {
    "drop": (2.0, 4.0),
    "change": (5.0, 10.0),
    "kill": (30.0, 60.0),
    "look": (2.0, 4.0),
    "sample": (10.0, 10.0),
}
_MAX_PENDING = 24  # So that a slow machine gets no more files than it can ingest.
_FEED_SKUS = 400
_CATCH_UP_SECONDS = 1800.0
_EMPTY_JOBS = 3
_KILL_LOOK_SECONDS = 0.1
_PAGE = "{ runsOrError(limit: 30) { ... on Runs { results { runId jobName status startTime } } } }"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass
class Soak:
    """What was done and observed.

    Attributes:
        folder: with home/, data/, the shops and the samples.
        kills: when run workers were killed, in seconds since the epoch.
        changes: the number of changes of products in the shops.
        pages: seconds that the web server took to show the runs, each time.
        failed_pages: how often the page of runs failed.
        samples: measured every few seconds, until the last drop.
        settled: seconds from the last drop until all was ingested; infinite: it never was.
        empty_jobs: seconds of empty jobs, before the first drop and after all was ingested.
    """

    folder: Path
    dropping: Dropping
    kills: list[float] = field(default_factory=list)
    changes: int = 0
    pages: list[float] = field(default_factory=list)
    failed_pages: int = 0
    samples: list[Sample] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    settled: float = 0.0
    empty_jobs: list[float] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"


def soak(folder: Path, seconds: float, seed: int, show: Callable[[str], None]) -> Soak:
    """Run `dagster dev` under load for some seconds, wait until all is ingested, and end it.

    The seed decides all random choices; how processes interleave depends on the machine.

    Raises:
        RuntimeError: Dagster has ended.
    """
    done = Soak(folder, Dropping(random.Random(f"{seed} drops"), folder / "data"))
    with ExitStack() as stack:
        feeds = []
        for name, numbers in FEEDS.items():
            write_products(folder / "shops" / name / "products.csv", numbers)
            feeds.append(stack.enter_context(feed_server(folder / "shops" / name, name)))
        dagster = stack.enter_context(
            dagster_dev(
                folder, {feed.name: feed.url for feed in feeds}, sensor_max_attempts=MAX_ATTEMPTS
            )
        )
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder / "home")))
        dagster.until(lambda: dagster.notes() >= len(feeds))
        outputs = [stack.enter_context(_reader(folder, seed + number)) for number in range(READERS)]
        show(f"{dagster.url} is up, in {folder}")
        done.empty_jobs += _empty_jobs(folder)
        Load(done, dagster, feeds, instance, seed, show).run(seconds)
        show(f"The last file was dropped; {len(done.dropping.pending())} are pending.")
        try:
            done.settled = dagster.until(
                lambda: _is_all_ingested(done, feeds, instance), seconds=_CATCH_UP_SECONDS
            )
            show(f"All is ingested {done.settled:.0f} s later.")
        except RuntimeError as error:  # The comparison of the tables finds what is missing.
            done.settled = inf
            show(str(error))
        done.empty_jobs += _empty_jobs(folder)
    for output in outputs:
        lines = output.read_text().splitlines()
        done.looks += [Look(**json.loads(line)) for line in lines if line.endswith("}")]
    return done


def _empty_jobs(folder: Path) -> list[float]:
    """Return the seconds of some jobs that find nothing to do, on another instance."""
    instance = prepared_instance(folder / "other home")
    settings = {"LFP_DATA_DIR": str(folder / "other data")}
    seconds = []
    for _ in range(_EMPTY_JOBS):
        started = time.perf_counter()
        execute_job(instance, "lfp_pipeline.definitions", "ingest_inbox", settings)
        seconds.append(time.perf_counter() - started)
    return seconds


@dataclass
class Load:
    """The load: all actions, from one thread, so none of them may wait."""

    done: Soak
    dagster: Dagster
    feeds: Sequence[Feed]
    instance: dg.DagsterInstance
    seed: int
    show: Callable[[str], None]

    def __post_init__(self) -> None:
        """Prepare the random choices, independent for each action."""
        self._chances = {name: random.Random(f"{self.seed} {name}") for name in _PAUSES}

    def run(self, seconds: float) -> None:
        """Do all actions at their random times, for so long."""
        actions: dict[str, Callable[[], float | None]] = {
            "drop": self._drop,
            "change": self._change,
            "kill": self.kill,
            "look": self._look,
            "sample": self._sample,
        }
        now = time.monotonic()
        end = now + seconds
        due = {name: now + self._pause(name) for name in actions}
        while (at := min(due.values())) < end:
            time.sleep(max(0.0, at - time.monotonic()))
            if self.dagster.process.poll() is not None:
                msg = f"Dagster has ended: see {self.dagster.log}"
                raise RuntimeError(msg)
            name = min(due, key=due.__getitem__)
            again_after = actions[name]()
            if again_after is None:
                again_after = self._pause(name)
            due[name] = time.monotonic() + again_after
        self._sample()

    def _pause(self, name: str) -> float:
        return self._chances[name].uniform(*_PAUSES[name])

    def _drop(self) -> None:
        if len(self.done.dropping.pending()) < _MAX_PENDING:
            self.done.dropping.drop()

    def _change(self) -> None:
        chance = self._chances["change"]
        feed = chance.choice(self.feeds)
        sku = f"s{chance.randrange(_FEED_SKUS):06}"
        with suppress(OSError):  # On a busy machine, a shop may answer too late.
            feed.change(sku, f"Name {chance.randrange(NAMES)}", f"of {feed.name}")
            self.done.changes += 1

    def kill(self) -> float | None:
        """Kill the process of a run; if there is none, return the seconds until the next look.

        Most runs are short. Other actions do not wait for a run, so that the load goes on.
        """
        workers = run_workers(self.dagster.process.pid)
        if not workers:
            return _KILL_LOOK_SECONDS
        with suppress(ProcessLookupError):  # The worker has just ended.
            os.kill(self._chances["kill"].choice(workers), signal.SIGKILL)
            self.done.kills.append(time.time())
        return None

    def _look(self) -> None:
        """Load the page of runs, as an open browser does."""
        started = time.perf_counter()
        try:
            answer = httpx.post(f"{self.dagster.url}/graphql", json={"query": _PAGE}, timeout=30)
            answer.raise_for_status()
        except httpx.HTTPError:
            self.done.failed_pages += 1
        else:
            self.done.pages.append(time.perf_counter() - started)

    def _sample(self) -> None:
        done = self.done
        sample = take_sample(
            self.dagster.process.pid,
            done.folder,
            self.instance,
            len(done.dropping.pending()),
            len(done.dropping.dropped),
        )
        done.samples.append(sample)
        write_sample(sample, done.folder / "samples.jsonl")
        rss = ", ".join(f"{name} {use.rss >> 20}" for name, use in sample.usages.items())
        self.show(
            f"{sample.dropped} dropped, {sample.pending} pending, {len(done.kills)} killed, "
            f"runs {sum(sample.runs.values())}: MB of {rss}"
        )


def _is_all_ingested(done: Soak, feeds: Sequence[Feed], instance: dg.DagsterInstance) -> bool:
    time.sleep(1)
    return (
        not done.dropping.pending()
        and all(_is_ingested(done, feed.name) for feed in feeds)
        and not instance.get_runs_count(dg.RunsFilter(statuses=_UNFINISHED))
        and not Engine(Settings(data_dir=done.data)).published.is_stale
    )


def _is_ingested(done: Soak, shop: str) -> bool:
    """Whether the present products of a shop are ingested."""
    served = (done.folder / "shops" / shop / "products.csv").read_bytes()
    digest = hashlib.sha256(served).hexdigest()[:16]
    notes = (done.data / "raw" / shop).glob(f"*-{digest}.outcome")
    newest = max((done.data / "raw" / shop).glob("[!.]*.json"), default=None)
    return newest is not None and any(note.stem == newest.stem for note in notes)


@contextmanager
def _reader(folder: Path, seed: int) -> Iterator[Path]:
    """Run a reader for the block; yield the file of its looks."""
    output = folder / f"reader-{seed}.jsonl"
    published = folder / "data" / "published" / "products.duckdb"
    command = [sys.executable, "-m", "verification.soak.reader", str(published), str(seed)]
    with output.open("wb") as file, subprocess.Popen(command, cwd=PROJECT, stdout=file) as process:
        try:
            yield output
        finally:
            process.kill()


def in_seconds(done: Soak) -> list[float]:
    """Return the seconds from each drop until the version was merged or refused, sorted."""
    return sorted(
        path_of(done.data / "raw", id_, ".outcome").stat().st_mtime - dropped_at
        for id_, (_, dropped_at) in done.dropping.dropped.items()
    )
