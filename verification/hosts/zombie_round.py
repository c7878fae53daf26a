"""Zombies: a writer loses its lock connection, another host merges, and the first goes on."""

from collections import Counter
from dataclasses import replace
from random import Random

from testing.expected_tables import File
from verification.crash.steps import Step
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, check, read_tables, require_done
from verification.hosts.faults import cut_lock
from verification.hosts.files import same_new_skus, write
from verification.hosts.report import Options, Report
from verification.hosts.steps import LakeStep
from verification.hosts.worker import DELIVER, Job
from verification.hosts.workers import Worker

_STOPS = (
    (LakeStep.ADMIT, True),
    (LakeStep.MATCH, False),
    (LakeStep.MATCH, True),
    (Step.BEGIN, False),
    (Step.BEGIN, True),
    (Step.STATEMENT, True),
    (Step.LEDGER, True),
    (Step.COMMIT, False),
)
"""Where a writer waits while it loses its lock."""

_RETRIES = 10
"""DuckLake's default."""

_FENCE = "ALTER TABLE lfp_lake.ducklake_snapshot {} TRIGGER lfp_fence"


def run(bench: Bench, options: Options) -> Report:
    """Have a zombie at each step within its lock, some times over."""
    report, refused = Report(), Counter[str]()
    lake, files = bench.new_lake(), list[File]()
    # DuckLake's own conflicts also refuse a zombie; without the fence, it repeats the commit.
    retries = 0 if options.fence else _RETRIES
    zombie, other = (Worker(bench, host, lake, retries=retries) for host in bench.workers[:2])
    try:
        for number in range(options.times):
            step, after = _STOPS[number % len(_STOPS)]
            random = Random(f"{options.seed} {number}")
            first, second = same_new_skus(random, number, 2, own_names=True)
            files += [first, second]
            jobs = [
                Job(DELIVER, [str(write(file, bench.folder / lake.name))]) for file in files[-2:]
            ]
            zombie.give(replace(jobs[0], stop=(step, 1, after)))
            if not zombie.stops():
                require_done(f"no job came to {step}: {zombie.ended()}", "In the plan")
            cut_lock(bench, lake)
            require_done(other.do(jobs[1]).problem, "The other host")
            if not options.fence:
                bench.postgres.execute(_FENCE.format("DISABLE"), lake.name)
            zombie.go_on()
            refused[step] += bool(zombie.ended().problem)
            check(read_tables(bench, lake), files, complete=False)
            bench.postgres.execute(_FENCE.format("ENABLE ALWAYS"), lake.name)
            require_done(zombie.do(jobs[0]).problem, "The zombie, later")
            check(read_tables(bench, lake), files, complete=True)
    except ViolationError as error:
        again = f"make hosts WHAT=zombie SEED={options.seed}"
        report.violations.append(f"A zombie at {step}: {error}\nAgain: {again}")
    finally:
        for worker in (zombie, other):
            worker.kill()
    report.lines += [f"{number} zombies at {step} were refused" for step, number in refused.items()]
    return report
