"""Kills processes in the middle of their work, and checks what they leave."""

import multiprocessing
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import duckdb

from lfp_pipeline.warehouse.file_lock import FileWriterLock
from testing.dagster_project import drop
from testing.engine import LOG, TABLES, engine_at, tables_of
from testing.expected_tables import File
from verification.crash.drops import AHEAD, AT_THE_DROP, Drops
from verification.crash.history import History, Marks, marks_in
from verification.crash.plan import Plan, Round, Typical, conditions_of
from verification.crash.steps import Step
from verification.crash.worker import (
    INGEST,
    LOG_FILE,
    OPERATIONS,
    PURGE,
    REINSTATE,
    REVERT,
    SENSE,
    Conditions,
    Job,
    run,
)

RANDOM_TIME = "random time"
HANG_SECONDS = 300
MAX_VIOLATIONS = 10
"""The campaign ends after so many: more would add nothing."""

_LOG_CHARACTERS = 3_000

_DELETIONS = "SELECT sku, delivery_id, delivered_at FROM deletions"
_DIGESTS = """
SELECT delivery_id, md5(string_agg(row_number || ':' || byte_start, ' ' ORDER BY row_number))
FROM rejected_rows GROUP BY delivery_id
"""
_NO_TABLES: Mapping[str, list[tuple[Any, ...]]] = {
    name: [] for name in [*TABLES, "deletions", "digests"]
}

KillPoint = tuple[str, str, bool]
"""Where a process was killed: its work; the step, or a random time; whether after the step."""


class ViolationError(Exception):
    """An invariant does not hold, or a process failed."""


@dataclass
class Figures:
    """The figures of a campaign.

    Attributes:
        kills: by kill point.
        processes: rounds, by how many processes worked at once.
        missed: processes that ended before they came to their kill point.
        checks: how often all invariants were checked.
        violations: descriptions, with what repeats them.
    """

    kills: Counter[KillPoint] = field(default_factory=Counter)
    processes: Counter[int] = field(default_factory=Counter)
    missed: int = 0
    checks: int = 0
    violations: list[str] = field(default_factory=list)


class Campaign:
    """Rounds of kills, in data folders below a folder; those with a violation are kept."""

    def __init__(self, seed: int, folder: Path) -> None:
        # Workers are forked from a process that has imported everything and opened nothing.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["verification.crash.worker"])
        self._folder = folder
        self._seed = seed
        self.figures = Figures()
        self._measured_operations = cache(self._measure_operations)
        self._plan = Plan(seed, cache(self._measured))

    def run(self, kills: int, first_folder: int, show: Callable[[Figures], None]) -> Figures:
        """Run, folder by folder, until there were so many kills; show figures after each round."""
        for number in count(first_folder):
            self._run_in_folder(number, kills, show)
            enough_violations = len(self.figures.violations) >= MAX_VIOLATIONS
            if self.figures.kills.total() >= kills or enough_violations:
                break
        return self.figures

    def _run_in_folder(self, number: int, kills: int, show: Callable[[Figures], None]) -> None:
        data = DataFolder(self._folder / f"{self._seed}-{number}", conditions_of(number))
        rounds = self._plan.rounds_of(number)
        try:
            while self.figures.kills.total() < kills and (round_ := next(rounds, None)):
                self._do(round_, data)
                show(self.figures)
            self._rebuild(data)
        except Exception as error:  # noqa: BLE001 (each is a finding)
            is_violation = isinstance(error, ViolationError)
            text = str(error) if is_violation else "".join(traceback.format_exception(error))
            self.figures.violations.append(
                f"after {self.figures.kills.total()} kills, in data folder {number}:\n"
                f"{text}\n{data.path} is kept. Again: "
                f"make crash SEED={self._seed} FIRST={number}"
            )
            show(self.figures)
        else:
            data.remove()

    def _do(self, round_: Round, data: "DataFolder") -> None:
        random = Random(f"{self._seed} {round_.number}")
        if round_.jobs[0].work == REINSTATE and not data.history.marks.reverted:
            self._operate(Job(REVERT, data.history.draw(REVERT, random)), data)
        data.drop(round_.drops)
        jobs = [_with_arguments(job, random, data.history) for job in round_.jobs]
        self.figures.processes[len(jobs)] += 1
        self._run(jobs, data)
        if round_.killed_rerun:
            self._run([round_.killed_rerun], data)
        # Whatever was killed, an ordinary run or tick completes it.
        self._run([Job(SENSE if any(job.work == SENSE for job in jobs) else INGEST)], data)
        data.check_end()
        self.figures.checks += 1

    def _operate(self, job: Job, data: "DataFolder") -> Counter[Step]:
        """Do an operator's work that nothing interrupts."""
        data.history.asked = job
        (counts,) = self._run([job], data)
        data.check_end()
        return counts

    def _rebuild(self, data: "DataFolder") -> None:
        """Assert I0: a new database from the raw zone has the same tables."""
        for suffix in ("", ".wal", ".id"):
            (data.path / "data" / f"products.duckdb{suffix}").unlink(missing_ok=True)
        self._run([Job(INGEST)], data)
        data.check_end(is_rebuilt=True)

    def _run(self, jobs: Sequence[Job], data: "DataFolder") -> list[Counter[Step]]:
        """Do jobs at once; return the step counts of those that were not killed.

        Whenever one was killed, the tables are checked while the others go on.
        """
        workers = [self._started(job, data) for job in jobs]
        working = {worker.process.sentinel: worker for worker in workers}
        counts = []
        try:
            while working:
                ended = connection.wait(working, HANG_SECONDS)
                if not ended:
                    msg = f"A process hangs:\n{data.log}"
                    raise ViolationError(msg)
                for sentinel in ended:
                    worker = working.pop(sentinel)
                    if self._was_killed(worker, data):
                        data.check_atomicity()
                    else:
                        counts.append(worker.counts.recv())
        finally:
            for worker in working.values():
                worker.process.kill()
                worker.end()
        return counts

    def _started(self, job: Job, data: "DataFolder") -> "_Worker":
        counts, sender = self._processes.Pipe(duplex=False)
        arguments = (job, data.path, data.conditions, sender)
        process = self._processes.Process(target=run, args=arguments)
        process.start()
        sender.close()
        killing = Timer(job.killed_after or 0, process.kill)
        if job.killed_after is not None:
            killing.start()
        return _Worker(job, process, counts, killing)

    def _was_killed(self, worker: "_Worker", data: "DataFolder") -> bool:
        exit_code, job = worker.end(), worker.job
        if job.is_killed and exit_code == -signal.SIGKILL:
            step, after = (job.kill.step, job.kill.after) if job.kill else (RANDOM_TIME, False)
            self.figures.kills[job.work, step, after] += 1
            return True
        if exit_code:
            msg = f"{job} ended with exit code {exit_code}:\n{data.log}"
            raise ViolationError(msg)
        self.figures.missed += job.is_killed
        return False

    def _measured(self, work: str, conditions: Conditions) -> Typical:
        """Measure two undisturbed jobs, one after the other."""
        if work in OPERATIONS:
            return self._measured_operations(conditions)[work]
        data = DataFolder(self._folder / f"{self._seed}-measured", conditions)
        drops = Drops(Random(self._seed))
        counts: list[Counter[Step]] = []
        for is_first in (True, False):
            data.drop(drops.next(2, large=conditions.large and is_first))
            started = time.monotonic()
            counts += self._run([Job(work)], data)
            seconds = time.monotonic() - started
        data.check_end()
        data.remove()
        first, later = counts
        return Typical(first, later, seconds)

    def _measure_operations(self, conditions: Conditions) -> Mapping[str, Typical]:
        """Measure undisturbed operators' works, one after the other."""
        data = DataFolder(self._folder / f"{self._seed}-measured", conditions)
        random = Random(self._seed)
        drops = Drops(random)
        for is_first in (True, False):
            data.drop(drops.next(4, large=conditions.large and is_first))
            self._run([Job(INGEST)], data)
        data.check_end()
        typical = {}
        for work in OPERATIONS:
            # After a purge of everything, each delivery can be pruned.
            arguments = () if work == PURGE else data.history.draw(work, random)
            started = time.monotonic()
            counts = self._operate(Job(work, arguments), data)
            typical[work] = Typical(counts, counts, time.monotonic() - started)
        data.remove()
        return typical


@dataclass(frozen=True)
class _Worker:
    """A process that does a job, and the timer that may kill it."""

    job: Job
    process: BaseProcess
    counts: connection.Connection
    killing: Timer

    def end(self) -> int | None:
        """Wait for its end; return its exit code."""
        self.process.join()
        self.killing.cancel()
        return self.process.exitcode


class DataFolder:
    """A data folder with a history."""

    def __init__(self, path: Path, conditions: Conditions) -> None:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        self.path = path
        self.conditions = conditions
        self.history = History()
        self._engine = engine_at(path / "data")

    def drop(self, files: Sequence[File]) -> None:
        """Put files into the inbox."""
        for file in files:
            if AT_THE_DROP <= file.microseconds < AHEAD:
                file = replace(file, microseconds=time.time_ns() // 1000)  # noqa: PLW2901
            drop(self.path / "data" / "inbox", file.key, file.content, file.microseconds)
            self.history.drop(file)

    def _tables(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """Return all tables, read under the writer lock; empty ones where there are none yet."""
        warehouse = self._engine.warehouse
        with FileWriterLock(warehouse.path, HANG_SECONDS).held("checking", LOG):
            if not warehouse.path.exists():
                return dict(_NO_TABLES)
            with duckdb.connect(warehouse.path, read_only=True) as connection:
                if not connection.execute("FROM duckdb_tables()").fetchall():
                    return dict(_NO_TABLES)
                deletions = connection.execute(_DELETIONS).fetchall()
                digests = connection.execute(_DIGESTS).fetchall()
                tables = tables_of(connection)
                return {**tables, "deletions": sorted(deletions), "digests": digests}

    def check_atomicity(self) -> None:
        """Check atomicity, while other processes may work."""
        self.history.check_atomicity(self._tables(), self._marks())

    def check_end(self, *, is_rebuilt: bool = False) -> None:
        """Check everything, when all work is done."""
        self.history.check_end(self._tables(), self._marks(), is_rebuilt=is_rebuilt)

    def _marks(self) -> Marks:
        return marks_in(self._engine.raw_zone.root)

    @property
    def log(self) -> str:
        """The end of the log of all processes."""
        return (self.path / LOG_FILE).read_text(errors="replace")[-_LOG_CHARACTERS:]

    def remove(self) -> None:
        # Reader processes whose parent was killed may still write: they end a second later.
        shutil.rmtree(self.path, ignore_errors=True)


def _with_arguments(job: Job, random: Random, history: History) -> Job:
    """Return a job; draw the arguments of an operator's, and note it as asked for."""
    if job.work not in OPERATIONS:
        return job
    history.asked = replace(job, arguments=history.draw(job.work, random))
    return history.asked
