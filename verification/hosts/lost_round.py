"""Faults while workers execute runs: lost hosts, and servers that crash or lose their data."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from testing.expected_tables import File
from verification.hosts.bench import Bench
from verification.hosts.checks import ViolationError, as_delivered, check, read_tables
from verification.hosts.cluster import Cluster
from verification.hosts.files import Files
from verification.hosts.network import Host
from verification.hosts.report import Options, Report

FAILED_WITHIN_SECONDS = 90

_WORKERS = 2
_INGESTED_WITHIN_SECONDS = 900
_CUT_SECONDS = 20.0


def run(bench: Bench, options: Options) -> Report:
    """Do each fault while a run is in progress; each file must be ingested exactly once."""
    report, dropped = Report(), list[File]()
    if not bench.network.has_cables:
        report.lines.append("Left out: on loopback, all hosts have one name")
        return report
    cluster = Cluster(bench, bench.new_database())
    files = Files(Random(options.seed), skus=5_000, rows=300)
    try:
        cluster.init()
        cluster.start_head()
        for worker in bench.workers[:_WORKERS]:
            cluster.start_worker(worker)
        for number, (fault, harm) in enumerate(_FAULTS.items()):
            new = [replace(file, key=f"{number}-{file.key}") for file in files.draw(options.times)]
            cluster.drop(new)
            dropped += new
            lost, runs = _host_with_a_run(cluster)
            started = time.monotonic()
            report.lines.append(f"| {fault} | {harm(cluster, lost, runs)} |")
            cluster.until_idle(len(dropped), _INGESTED_WITHIN_SECONDS)
            found = read_tables(bench, cluster.lake)
            check(found, as_delivered(found, dropped), complete=True)
            seconds = time.monotonic() - started
            options.show(f"{fault}: all {len(new)} files were ingested once, {seconds:.0f} s later")
    except ViolationError as error:
        again = f"make hosts WHAT=lost SEED={options.seed} TIMES={options.times}"
        report.violations.append(f"{fault}: {error}\nAgain: {again}")
    finally:
        bench.restore()
        cluster.end()
    return report


def _host_with_a_run(cluster: Cluster) -> tuple[Host, list[str]]:
    workers = cluster.bench.workers
    cluster.until(lambda: any(map(cluster.runs_on, workers)), "No worker has a run")
    return next((host, runs) for host in workers if (runs := cluster.runs_on(host)))


def _until_failed(cluster: Cluster, runs: list[str]) -> str:
    """Wait until the runs of a lost host have failed; return after how long, for people."""
    seconds = cluster.until(
        lambda: cluster.statuses(runs) <= {"FAILURE"},
        "The runs of the lost host have not failed",
        FAILED_WITHIN_SECONDS,
    )
    return f"its runs had failed {seconds:.0f} s later"


def _kill_host(cluster: Cluster, lost: Host, runs: list[str]) -> str:
    lost.kill()
    outcome = _until_failed(cluster, runs)
    lost.boot()
    cluster.start_worker(lost)
    return outcome


def _cut_host(cluster: Cluster, lost: Host, runs: list[str]) -> str:
    cluster.bench.network.cut(lost)
    outcome = _until_failed(cluster, runs)
    cluster.bench.network.restore(lost)
    return outcome


def _cut_host_for_a_while(cluster: Cluster, lost: Host, _: list[str]) -> str:
    cluster.bench.network.cut(lost)
    time.sleep(_CUT_SECONDS)
    cluster.bench.network.restore(lost)
    return f"for {_CUT_SECONDS:.0f} s"


def _kill_head(cluster: Cluster, _: Host, __: list[str]) -> str:
    cluster.bench.head.kill()
    cluster.bench.head.boot()
    cluster.start_head()
    return "and started again"


def _lose_redis(cluster: Cluster, _: Host, __: list[str]) -> str:
    cluster.bench.redis.lose_data()
    return "and started again without its data"


def _restart_redis(cluster: Cluster, _: Host, __: list[str]) -> str:
    cluster.bench.redis.restart()
    return "and started again"


def _restart_postgres(cluster: Cluster, _: Host, __: list[str]) -> str:
    cluster.bench.postgres.restart()
    return "and started again"


_FAULTS: Mapping[str, Callable[[Cluster, Host, list[str]], str]] = {
    "worker's host killed": _kill_host,
    "worker cut off until its runs failed": _cut_host,
    "worker cut off": _cut_host_for_a_while,
    "head killed": _kill_head,
    "Redis crashed and lost its data": _lose_redis,
    "Redis crashed": _restart_redis,
    "PostgreSQL crashed": _restart_postgres,
}
