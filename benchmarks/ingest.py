"""How long a landed file takes to committed products and counts, beside a bare DuckDB load.

Every measurement is a process of its own, so that its peak memory is its own. The bare load is
`INSERT ... SELECT FROM read_csv` into a DuckDB file: no winners, no upsert, no counts, no ledger.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.sample import write_sample
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.account import Status

_LOG = logging.getLogger("benchmark")

_BARE_TABLE = "CREATE TABLE products (name VARCHAR, sku VARCHAR, description VARCHAR)"

_BARE_LOAD = """
INSERT INTO products
SELECT * FROM read_csv($path, header = true,
    columns = {'name': 'VARCHAR', 'sku': 'VARCHAR', 'description': 'VARCHAR'})
"""

Measurement = tuple[float, float]
"""Seconds, and peak memory in MB."""


def bare_load(sample: Path, folder: Path) -> float:
    """Seconds of the bare load, from opening the database to closing it."""
    started = time.perf_counter()
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(_BARE_TABLE)
        connection.execute(_BARE_LOAD, {"path": str(sample)})
    return time.perf_counter() - started


def first_ingest(sample: Path, folder: Path) -> float:
    """Seconds from a landed file to committed counts, into an empty warehouse."""
    return _ingest(sample, folder)


def second_ingest(sample: Path, folder: Path) -> float:
    """The same for a newer delivery of the same file, in the same process."""
    _ingest(sample, folder)
    os.utime(sample)
    return _ingest(sample, folder)


def _ingest(sample: Path, folder: Path) -> float:
    engine = Engine(Settings(data_dir=folder))
    delivery = engine.land(engine.source_at(str(sample)), "sample.csv", _LOG)
    started = time.perf_counter()
    ingested = engine.ingest(delivery, _LOG)
    seconds = time.perf_counter() - started
    if ingested.account.status is not Status.MERGED:
        sys.exit(f"not merged: {ingested.account.error}")
    return seconds


def measure(work: Callable[[Path, Path], float], sample: Path) -> Measurement:
    """Do the work in a new process and a new folder."""
    with (
        TemporaryDirectory(dir=sample.parent) as folder,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        return pool.apply(_measured, (work, sample, Path(folder)))


def _measured(work: Callable[[Path, Path], float], sample: Path, folder: Path) -> Measurement:
    seconds = work(sample, folder)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Measure, several rounds in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    works = {"bare load": bare_load, "first ingest": first_ingest, "the same again": second_ingest}
    taken: dict[str, list[Measurement]] = {name: [] for name in works}
    with TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.csv"
        write_sample(sample, arguments.rows, seed=7)
        size = sample.stat().st_size / 1e6
        print(f"{arguments.rows:,} rows, {size:.1f} MB, {arguments.rounds} rounds, medians")
        for _ in range(arguments.rounds):
            for name, work in works.items():
                taken[name].append(measure(work, sample))
    floor = statistics.median(seconds for seconds, _ in taken["bare load"])
    print(f"{'':16}{'seconds':>9}{'ratio':>7}{'peak MB':>9}")
    for name, measurements in taken.items():
        seconds = statistics.median(seconds for seconds, _ in measurements)
        memory = max(memory for _, memory in measurements)
        print(f"{name:16}{seconds:9.2f}{seconds / floor:7.2f}{memory:9.0f}")


if __name__ == "__main__":
    main()
