"""A soak: `dagster dev` under load, with readers, changing feeds and workers that are killed."""

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

from examples.processes import Dagster, Feed, dagster_dev, feed_server
from examples.two_feeds import write_products
from lfp_pipeline.engine import Engine
from lfp_pipeline.settings import Settings
from testing.processes import PROJECT
from verification.soak.reader import Look
from verification.soak.samples import Sample, take_sample, write_sample
from verification.soak.servers import run_workers
from verification.soak.versions import NAMES, Dropping, Version, outcome_path

MAX_ATTEMPTS = 10
"""For one version of a file, kills included: three are the default, and may all be killed here."""

READERS = 2
FEEDS = {"shop-a": range(300), "shop-b": range(150, 450)}

_PAUSES = {
    "drop": (2.0, 4.0),
    "change": (5.0, 10.0),
    "kill": (30.0, 60.0),
    "look": (2.0, 4.0),
    "sample": (10.0, 10.0),
}
_MOST_PENDING = 24  # A slow machine is not given more than it can do.
_FEED_SKUS = 400
_SETTLING_SECONDS = 1800.0
_PAGE = "{ runsOrError(limit: 30) { ... on Runs { results { runId jobName status startTime } } } }"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass
class Soak:
    """What was done and seen.

    Attributes:
        folder: with home/, data/, the shops and the samples.
        dropping: what was dropped.
        kills: of run workers: when, in seconds since the epoch.
        changes: of products in the shops.
        pages: how long the web server took to show the runs, in seconds.
        failed_pages: how often it did not.
        samples: how things were, every few seconds, until the last drop.
        looks: of the readers.
        settled: seconds from the last drop until all was in; infinite: it never was.
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

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"


def soak(folder: Path, seconds: float, seed: int, tell: Callable[[str], None]) -> Soak:
    """Let `dagster dev` work for so long, wait until all is in, and end it.

    Args:
        folder: a new one.
        seconds: how long there is something to do.
        seed: of everything that is random; the moments are the machine's.
        tell: is told how it goes.

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
        outputs = [stack.enter_context(_reader(folder, seed + one)) for one in range(READERS)]
        tell(f"{dagster.url} is up, in {folder}")
        _Load(done, dagster, feeds, instance, seed, tell).last(seconds)
        tell(f"The last file was dropped; {len(done.dropping.pending())} are not in yet.")
        try:
            done.settled = dagster.until(
                lambda: _all_is_in(done, feeds, instance), seconds=_SETTLING_SECONDS
            )
            tell(f"All is in {done.settled:.0f} s later.")
        except RuntimeError as error:  # What is missing is found by whoever judges.
            done.settled = inf
            tell(str(error))
    for output in outputs:
        lines = output.read_text().splitlines()
        done.looks += [Look(**json.loads(line)) for line in lines if line.endswith("}")]
    return done


@dataclass
class _Load:
    """Everything that goes on at once, from one thread."""

    done: Soak
    dagster: Dagster
    feeds: Sequence[Feed]
    instance: dg.DagsterInstance
    seed: int
    tell: Callable[[str], None]

    def last(self, seconds: float) -> None:
        """Do everything at its random times, for so long."""
        actions = {
            "drop": self._drop,
            "change": self._change,
            "kill": self._kill,
            "look": self._look,
            "sample": self._sample,
        }
        self._chances = {name: random.Random(f"{self.seed} {name}") for name in actions}
        now = time.monotonic()
        end = now + seconds
        due = {name: now + self._pause(name) for name in actions}
        while (moment := min(due.values())) < end:
            time.sleep(max(0.0, moment - time.monotonic()))
            if self.dagster.process.poll() is not None:
                msg = f"Dagster has ended: see {self.dagster.log}"
                raise RuntimeError(msg)
            name = min(due, key=due.__getitem__)
            actions[name]()
            due[name] = time.monotonic() + self._pause(name)
        self._sample()

    def _pause(self, name: str) -> float:
        return self._chances[name].uniform(*_PAUSES[name])

    def _drop(self) -> None:
        if len(self.done.dropping.pending()) < _MOST_PENDING:
            self.done.dropping.drop()

    def _change(self) -> None:
        chance = self._chances["change"]
        feed = chance.choice(self.feeds)
        sku = f"s{chance.randrange(_FEED_SKUS):06}"
        with suppress(OSError):  # On a busy machine, a shop may answer too late.
            feed.change(sku, f"Name {chance.randrange(NAMES)}", f"of {feed.name}")
            self.done.changes += 1

    def _kill(self) -> None:
        workers = run_workers(self.dagster.process.pid)
        if workers:
            with suppress(ProcessLookupError):  # It has just ended.
                os.kill(self._chances["kill"].choice(workers), signal.SIGKILL)
                self.done.kills.append(time.time())

    def _look(self) -> None:
        """Look at the page of runs, as a browser does that is left open."""
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
        self.tell(
            f"{sample.dropped} dropped, {sample.pending} pending, {len(done.kills)} killed, "
            f"runs {sum(sample.runs.values())}: MB of {rss}"
        )


def _all_is_in(done: Soak, feeds: Sequence[Feed], instance: dg.DagsterInstance) -> bool:
    time.sleep(1)
    return (
        not done.dropping.pending()
        and all(_is_in(done, feed.name) for feed in feeds)
        and not instance.get_runs_count(dg.RunsFilter(statuses=_UNFINISHED))
        and not Engine(Settings(data_dir=done.data)).published.is_stale
    )


def _is_in(done: Soak, shop: str) -> bool:
    """Whether the products of a shop are in, as they are now."""
    served = (done.folder / "shops" / shop / "products.csv").read_bytes()
    digest = hashlib.sha256(served).hexdigest()[:16]
    notes = (done.data / "raw" / shop).glob(f"*-{digest}.outcome")
    newest = max((done.data / "raw" / shop).glob("[!.]*.json"), default=None)
    return newest is not None and any(note.stem == newest.stem for note in notes)


@contextmanager
def _reader(folder: Path, seed: int) -> Iterator[Path]:
    """A reader for the block; the file into which it tells its looks."""
    output = folder / f"reader-{seed}.jsonl"
    published = folder / "data" / "published" / "products.duckdb"
    command = [sys.executable, "-m", "verification.soak.reader", str(published), str(seed)]
    with (
        output.open("wb") as file,
        subprocess.Popen(command, cwd=PROJECT, stdout=file) as process,
    ):
        try:
            yield output
        finally:
            process.kill()


def in_seconds(done: Soak) -> list[float]:
    """How long each version took from its drop until it was in, or was refused."""
    return sorted(
        outcome_path(done.data, id_).stat().st_mtime - dropped_at
        for id_, (_, dropped_at) in done.dropping.dropped.items()
    )


def versions(done: Soak) -> dict[str, Version]:
    """What was dropped, by delivery id."""
    return {id_: version for id_, (version, _) in done.dropping.dropped.items()}
