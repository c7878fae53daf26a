"""Throughput of many small files with one, two and three workers, and the memory of each host."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from testing.expected_tables import File
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, as_delivered, check, read_tables
from verification.hosts.cluster import Cluster
from verification.hosts.files import Files
from verification.hosts.report import Options, Report

_ROWS = 100
_SKUS = 50_000
_SAMPLE_SECONDS = 1.0
_LONGEST_SECONDS = 3600


def run(bench: Bench, options: Options) -> Report:
    """Ingest so many files with each number of workers."""
    report = Report()
    report.lines += [
        "| workers | seconds | files a second | head, MB | a worker, MB |",
        "|---:|---:|---:|---:|---:|",
    ]
    files = Files(Random(options.seed), skus=_SKUS, rows=_ROWS).draw(options.times)
    for workers in range(1, len(bench.workers) + 1):
        try:
            report.lines.append(_measure(bench, files, workers))
        except ViolationError as error:
            report.violations.append(f"With {workers} workers: {error}")
        options.show(report.lines[-1])
    return report


def _measure(bench: Bench, files: list[File], workers: int) -> str:
    cluster = Cluster(bench, bench.new_database())
    try:
        cluster.init()
        cluster.start_head()
        for host in bench.workers[:workers]:
            cluster.start_worker(host)
        with _peaks(bench) as peaks:
            started = time.monotonic()
            cluster.drop(files)
            cluster.until_idle(len(files), _LONGEST_SECONDS)
            seconds = time.monotonic() - started
        found = read_tables(bench, cluster.lake)
        check(found, as_delivered(found, files), complete=True)
    finally:
        cluster.end()
    worker = max(peaks[host.name] for host in bench.workers[:workers])
    return (
        f"| {workers} | {seconds:.0f} | {len(files) / seconds:.1f} "
        f"| {peaks['head'] / 2**20:.0f} | {worker / 2**20:.0f} |"
    )


@contextmanager
def _peaks(bench: Bench) -> Iterator[dict[str, int]]:
    """Yield the most memory that each host has used during the block."""
    peaks = dict.fromkeys(bench.hosts, 0)
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(_SAMPLE_SECONDS):
            for name, host in bench.hosts.items():
                peaks[name] = max(peaks[name], host.memory_bytes())

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield peaks
    finally:
        is_over.set()
        sampling.join()
