"""Readers on another host, while workers merge and the lake is maintained."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

from verification.crash.steps import Step
from verification.hosts.bench import Bench, Lake
from verification.hosts.checks import ViolationError, check, read_tables, require_done
from verification.hosts.files import Files, write
from verification.hosts.plain_reader import Look
from verification.hosts.report import Options, Report
from verification.hosts.worker import DELIVER, MAINTAIN, Job
from verification.hosts.workers import Worker

READERS = 2
_FILES = 4
_MAINTAIN_EVERY = 5


def run(bench: Bench, options: Options) -> Report:
    """Read for some minutes; each look must find tables that agree with each other."""
    report = Report()
    load = _Load(bench, bench.new_lake(), options)
    looks: list[Look] = []
    try:
        load.work_until(time.monotonic())
        with _readers(bench, load.lake, options.seed) as outputs:
            load.work_until(time.monotonic() + 60 * options.minutes)
        looks = [look for output in outputs for look in _looks(output)]
        check(read_tables(bench, load.lake), load.files.drawn, complete=True)
    except ViolationError as error:
        again = f"make hosts WHAT=readers SEED={options.seed} MINUTES={options.minutes}"
        report.violations.append(f"{error}\nAgain: {again}")
    finally:
        load.end()
    report.violations += [f"A reader {look.problem}" for look in looks if look.problem]
    if looks:
        slowest = max(look.seconds for look in looks)
        report.lines.append(
            f"{len(looks):,} reads by {READERS} readers of another host during "
            f"{len(load.files.drawn)} deliveries and maintenance, the slowest in {slowest:.2f} s; "
            f"{len(report.violations)} failed or inconsistent"
        )
    done = load.maintained
    report.lines.append(
        f"Compacted {done['files_before']:,} files to {done['files']:,}, and removed "
        f"{done['snapshots_expired']:,} snapshots, {done['files_removed']:,} files of theirs, and "
        f"{done['orphans_removed']:,} files of killed writers"
    )
    return report


@contextmanager
def _readers(bench: Bench, lake: Lake, seed: int) -> Iterator[list[Path]]:
    """Run readers for the block; yield the files of their looks."""
    outputs, readers = [], []
    environment = bench.environment(bench.reader, lake)
    for number in range(READERS):
        outputs.append(bench.folder / f"{lake.name}-reader-{number}.jsonl")
        with outputs[-1].open("w") as output:
            arguments = ("verification.hosts.plain_reader", f"{seed} {number}")
            reader = bench.start(bench.reader, *arguments, environment=environment, stdout=output)
            readers.append(reader)
    try:
        yield outputs
        if any(reader.poll() is not None for reader in readers):
            raise ViolationError("A reader has ended")
    finally:
        for reader in readers:
            bench.reader.signal(reader, signal.SIGKILL)
            reader.wait()


def _looks(output: Path) -> Iterator[Look]:
    lines = output.read_text().splitlines()
    return (Look(**json.loads(line)) for line in lines if line.endswith("}"))


class _Load:
    """Two hosts that merge, and maintain the lake now and then; sometimes, one is killed."""

    def __init__(self, bench: Bench, lake: Lake, options: Options) -> None:
        self.lake = lake
        self.files = Files(Random(options.seed), skus=5_000, rows=1_000)
        self.maintained = Counter[str]()
        self._bench = bench
        self._show = options.show
        self._workers = [Worker(bench, host, lake) for host in bench.workers[:2]]

    def work_until(self, deadline: float) -> None:
        """Merge and maintain, once at least."""
        for turn in count():
            paths = [str(write(file, self._folder)) for file in self.files.draw(_FILES)]
            if turn % _MAINTAIN_EVERY == _MAINTAIN_EVERY - 1:
                self._kill_at_commit(paths, turn // _MAINTAIN_EVERY % 2)
                self._do(Job(MAINTAIN), Job(DELIVER, paths))
            else:
                self._do(Job(DELIVER, paths[::2]), Job(DELIVER, paths[1::2]))
            self._show(f"{len(self.files.drawn)} deliveries")
            if time.monotonic() >= deadline:
                return

    def _do(self, *jobs: Job) -> None:
        """Do a job by each host at once."""
        for worker, job in zip(self._workers, jobs, strict=True):
            worker.give(job)
        for worker, job in zip(self._workers, jobs, strict=True):
            ended = worker.ended()
            require_done(ended.problem, job.work)
            self.maintained.update(ended.figures)

    def _kill_at_commit(self, paths: Sequence[str], place: int) -> None:
        """Kill a process before its commit, which leaves files that nothing refers to."""
        worker = self._workers[place]
        worker.give(Job(DELIVER, paths, (Step.COMMIT, 1, False)))
        worker.stops()
        worker.kill()
        self._workers[place] = Worker(self._bench, worker.host, self.lake)

    @property
    def _folder(self) -> Path:
        return self._bench.folder / self.lake.name

    def end(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.kill()
