"""The same new skus from several hosts at once."""

import time
from random import Random

from testing.expected_tables import File
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, check, read_tables, require_done
from verification.hosts.files import same_new_skus, write
from verification.hosts.report import Options, Report
from verification.hosts.worker import DELIVER, Job
from verification.hosts.workers import Worker

PROCESSES = 4
MERGES = 20
_ROUNDS_OF_A_LAKE = 10


def run(bench: Bench, options: Options) -> Report:
    """Merge twenty deliveries of the same new skus by four processes, so many times."""
    report = Report()
    started = time.monotonic()
    for first in range(0, options.times, _ROUNDS_OF_A_LAKE):
        rounds = range(first, min(first + _ROUNDS_OF_A_LAKE, options.times))
        try:
            _rounds_of_a_lake(bench, options, rounds)
        except ViolationError as error:
            again = f"make hosts WHAT=together SEED={options.seed} TIMES={options.times}"
            report.violations.append(f"{error}\nAgain: {again}")
    seconds = (time.monotonic() - started) / options.times
    report.lines.append(
        f"{options.times} rounds of {MERGES} merges by {PROCESSES} processes, {seconds:.1f} s each"
    )
    return report


def _rounds_of_a_lake(bench: Bench, options: Options, rounds: range) -> None:
    lake, files = bench.new_lake(), list[File]()
    hosts = [bench.workers[number % len(bench.workers)] for number in range(PROCESSES)]
    workers = [Worker(bench, host, lake, batch_files=1) for host in hosts]
    try:
        for number in rounds:
            new = same_new_skus(Random(f"{options.seed} {number}"), number, MERGES)
            files += new
            for place, worker in enumerate(workers):
                paths = [write(file, bench.folder / lake.name) for file in new[place::PROCESSES]]
                worker.give(Job(DELIVER, [str(path) for path in paths]))
            for worker in workers:
                require_done(worker.ended().problem, f"In round {number}")
            check(read_tables(bench, lake), files, complete=True)
            options.show(f"Round {number} of the same new skus from several hosts is exact")
    finally:
        for worker in workers:
            worker.kill()
