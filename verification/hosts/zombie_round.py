"""Zombies: a writer loses its lock connection, another host merges, and the first goes on."""

from collections import Counter
from random import Random

from verification.crash.steps import Step
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, check, read_tables, require_done
from verification.hosts.faults import cut_lock
from verification.hosts.files import Files, write
from verification.hosts.report import Options, Report
from verification.hosts.worker import DELIVER, Job
from verification.hosts.workers import Worker

_STEPS = (Step.MATCH, Step.BEGIN, Step.STATEMENT, Step.COUNTS, Step.LEDGER)
_REMOVE_FENCE = "ALTER TABLE lfp_lake.ducklake_snapshot DISABLE TRIGGER USER"


def run(bench: Bench, options: Options) -> Report:
    """Have a zombie at each step within its lock, some times over."""
    report, refused = Report(), Counter[str]()
    lake = bench.new_lake()
    random = Random(options.seed)
    # All deliveries have the same skus: the zombie would insert them a second time.
    files = Files(random, skus=20, rows=100)
    zombie, other = (Worker(bench, host, lake) for host in bench.workers[:2])

    def job(number: int, stop: tuple[str, int, bool] | None = None) -> Job:
        paths = [str(write(file, bench.folder / lake.name)) for file in files.draw(number)]
        return Job(DELIVER, paths, stop)

    try:
        for number in range(options.times):
            step = _STEPS[number % len(_STEPS)]
            zombie.give(job(1, (step, 1, bool(number // len(_STEPS) % 2))))
            if zombie.stops():
                cut_lock(bench, lake)
                require_done(other.do(job(1)).problem, "The other host")
                if not options.fence:
                    bench.postgres.execute(_REMOVE_FENCE, lake.name)
                zombie.go_on()
                if zombie.ended().problem:
                    refused[step] += 1
            check(read_tables(bench, lake), files.drawn, complete=False)
    except ViolationError as error:
        again = f"make hosts WHAT=zombie SEED={options.seed}"
        report.violations.append(f"{step}: {error}\nAgain: {again}")
    finally:
        for worker in (zombie, other):
            worker.kill()
    report.lines += [f"{number} zombies were refused at {step}" for step, number in refused.items()]
    return report
