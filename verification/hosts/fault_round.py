"""Faults at every step of a merge, while another host merges, too."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

from testing.expected_tables import File
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, check, read_tables, require_done
from verification.hosts.fault_plan import Plan, plan_of
from verification.hosts.faults import (
    LOSES_PROCESS,
    MOMENT_SECONDS,
    NEEDS_CABLES,
    OTHERS_FIRST,
    OTHERS_SUFFER,
    Fault,
    Harm,
)
from verification.hosts.files import Files, write
from verification.hosts.report import Options, Report
from verification.hosts.worker import DELIVER, INGEST, Ended, Job
from verification.hosts.workers import HangingError, LostError, Worker

FAULTS_OF_A_LAKE = 12
MAX_VIOLATIONS = 10
CLOCK_SECONDS = 600

_FILES = 3
_RECOVERY_SECONDS = 150


@dataclass
class Figures:
    """The figures of the round.

    Attributes:
        faults: by kind.
        steps: faults by step.
        missed: jobs that ended before they came to their step.
        problems: of jobs that a fault made fail, by their first words.
        recovery: the longest wait until another host had merged, by fault, in seconds.
    """

    faults: Counter[Fault] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    recovery: dict[Fault, float] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield tables in Markdown."""
        yield from ("| fault | times | longest wait of another host (s) |", "|---|---:|---:|")
        for fault in Fault:
            if self.faults[fault]:
                seconds = self.recovery.get(fault, 0)
                yield f"| {fault} | {self.faults[fault]} | {seconds:.1f} |"
        yield from ("", "| step | faults |", "|---|---:|")
        yield from (f"| {step} | {number} |" for step, number in self.steps.most_common())
        yield f"\n{self.missed} jobs ended before they came to their step."
        yield from (f"{number} times: {text}" for text, number in self.problems.most_common())


def run(bench: Bench, options: Options) -> Report:
    """Do faults, lake by lake, until there were so many."""
    report, figures = Report(), Figures()
    for number in count(options.first):
        lake = _LakeRound(bench, options, number, figures)
        try:
            lake.run()
        except (ViolationError, HangingError, LostError, AssertionError) as error:
            again = f"make hosts WHAT=faults SEED={options.seed} FIRST={number}"
            report.violations.append(f"In lake {number}, {lake.plan}:\n{error}\nAgain: {again}")
            options.show(report.violations[-1])
        finally:
            lake.end()
        options.show(f"{figures.faults.total()} faults, {len(report.violations)} violations")
        if figures.faults.total() >= options.times or len(report.violations) >= MAX_VIOLATIONS:
            break
    report.lines += [f"{figures.faults.total()} faults", "", *figures.lines()]
    return report


class _LakeRound:
    """Some faults on one lake, by two hosts."""

    def __init__(self, bench: Bench, options: Options, number: int, figures: Figures) -> None:
        self._bench, self._options, self._figures = bench, options, figures
        self._random = Random(f"{options.seed} {number}")
        self._number = number
        self._lake = bench.new_lake()
        self._files = Files(self._random)
        self._hosts = list(bench.workers[:2])
        # In every other lake, the clocks of the hosts are ten minutes apart.
        self._hosts[1].clock = CLOCK_SECONDS if number % 2 else 0
        self._workers: list[Worker] = []
        self.plan: Plan | str = "before the first fault"

    def run(self) -> None:
        """Do the faults of this lake."""
        self._workers = [Worker(self._bench, host, self._lake) for host in self._hosts]
        self._undisturbed(self._workers[0])
        steps = self._undisturbed(self._workers[1]).steps
        for number in range(FAULTS_OF_A_LAKE):
            if self._figures.faults.total() >= self._options.times:
                break
            plan = plan_of(
                self._options.seed,
                self._number * FAULTS_OF_A_LAKE + number,
                steps,
                has_cables=self._bench.network.has_cables,
            )
            self._disturb(plan)
        self._check(complete=True)

    def end(self) -> None:
        """End the processes, and undo what is left of faults."""
        for worker in self._workers:
            worker.kill()
        self._bench.restore()

    def _undisturbed(self, worker: Worker) -> Ended:
        ended = worker.do(self._delivering(self._files.draw(_FILES)))
        require_done(ended.problem, "Without any fault")
        self._check(complete=True)
        return ended

    def _delivering(self, files: list[File], plan: Plan | None = None) -> Job:
        paths = [str(write(file, self._bench.folder / self._lake.name)) for file in files]
        stop = (plan.step, plan.occurrence, plan.after) if plan else None
        return Job(DELIVER, paths, stop)

    def _disturb(self, plan: Plan) -> None:
        self.plan = plan
        turn = self._random.randrange(2)
        victim, other = self._workers[turn], self._workers[1 - turn]
        files = self._files.draw(_FILES)
        victim.give(self._delivering(files, plan))
        if not victim.stops():
            self._figures.missed += 1
            self._expect_done(victim.ended())
            self._check(complete=True)
            return
        self._figures.faults[plan.fault] += 1
        self._figures.steps[plan.step] += 1
        self._options.show(f"Lake {self._number}: {plan}, on {victim.host.name}")
        # The other host gets one of the files, too.
        files += self._files.draw(_FILES - 1)
        others = self._delivering(files[_FILES - 1 :])
        harm = Harm(self._bench, self._lake, victim)
        started = time.monotonic()
        harm.do(plan.fault, self._random.randrange(10**6))
        other.give(others)
        if plan.fault not in OTHERS_FIRST | LOSES_PROCESS:
            victim.go_on()
        if plan.fault in {Fault.BLIP, Fault.STOP}:
            time.sleep(MOMENT_SECONDS)
            harm.undo(plan.fault)
        ended = other.ended(_RECOVERY_SECONDS)
        waited = time.monotonic() - started
        self._figures.recovery[plan.fault] = max(self._figures.recovery.get(plan.fault, 0), waited)
        if plan.fault in OTHERS_SUFFER:
            self._note(ended)
        else:
            self._expect_done(ended)
        if plan.fault in OTHERS_FIRST:
            victim.go_on()
        if plan.fault is Fault.CUT:
            time.sleep(self._random.uniform(0, 2 * MOMENT_SECONDS))
        if plan.fault in LOSES_PROCESS:
            harm.undo(plan.fault)
            self._workers[turn] = Worker(self._bench, victim.host, self._lake)
        else:
            if plan.fault in NEEDS_CABLES:
                harm.undo(plan.fault)
            self._note(victim.ended())
            harm.undo(plan.fault)
        self._check(complete=False)
        finisher = self._random.choice(self._workers)
        self._expect_done(finisher.do(Job(INGEST)))
        self._expect_done(finisher.do(self._delivering(files)))
        self._check(complete=True)

    def _note(self, ended: Ended) -> None:
        """Note a problem that a fault may cause; it must be an error for users."""
        if ended.problem:
            self._figures.problems[ended.problem[:60]] += 1
            if not ended.is_for_users:
                require_done(ended.problem, "An error that is not for users")

    def _expect_done(self, ended: Ended) -> None:
        require_done(ended.problem, "A job that no fault reached has failed")

    def _check(self, *, complete: bool) -> None:
        check(read_tables(self._bench, self._lake), self._files.drawn, complete=complete)
