"""The cost of a lake beside a database in a file, on the same version of DuckDB.

    make bench-lake                                        # about ten minutes
    .venv-cluster/bin/python -m benchmarks.lake --rounds 5 --rows 100000 --large 1000000

Each round does the same works on both, one after the other, each in a process and a folder of its
own; the lake has a fresh database of a PostgreSQL server on loopback, and its files in a folder. In
the end, both must have the same products.
"""

import argparse
import logging
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from pydantic import SecretStr

from benchmarks.machine import describe_machine
from benchmarks.measure import Meter, Step, measure
from benchmarks.samples import OTHER_SEED, Samples
from lfp_pipeline.engine import Engine
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from testing import postgres
from testing.lakes import new_lake

_LOG = logging.getLogger("benchmarks")
_SMALL_ROWS = 1_000

_DIGEST = """
SELECT count(*), sum(hash(sku, name, description, delivery_id, delivered_at, row_number))
FROM warehouse.products
"""

Files = Sequence[tuple[str, Path]]
"""The name of each step, and its file; each is newer than the one before."""


def main() -> int:
    """Measure, and print the ratios; return 1 if the products differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=500_000, help="of a file onto nothing")
    parser.add_argument("--large", type=int, default=5_000_000, help="of the tables for deltas")
    parser.add_argument("--folder", type=Path, help="keeps the samples; default: a temporary one")
    given = parser.parse_args()
    if missing := postgres.missing():
        sys.exit(f"This needs a real server: {missing}")
    for name, value in describe_machine().items():
        print(f"{name}: {value}")
    with TemporaryDirectory(prefix="lfp-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # The server's user enters it.
        kept = given.folder or Path(folder)
        works = _works(Samples(kept / "samples"), given.rows, given.large)
        server = postgres.PostgresServer(Path(folder) / "postgres")
        server.create()
        server.start()
        try:
            return _measure_all(works, given.rounds, kept / "scratch", server)
        finally:
            server.stop()


def _works(samples: Samples, rows: int, large: int) -> Sequence[Files]:
    first = samples.plain(rows).path
    big = samples.plain(large).path
    return (
        (
            ("first", first),
            ("the same again", first),
            ("as many onto", samples.plain(rows, OTHER_SEED).path),
        ),
        (
            ("large, first", big),
            (f"{_SMALL_ROWS:,} onto large", samples.delta(_SMALL_ROWS, large).path),
            (f"{rows:,} onto large", samples.delta(rows, large).path),
        ),
    )


def _measure_all(
    works: Sequence[Files], rounds: int, scratch: Path, server: postgres.PostgresServer
) -> int:
    seconds: dict[tuple[str, str], list[Step]] = defaultdict(list)
    differ = False
    for number in range(rounds):
        for files in works:
            digests = set()
            for kind, of in (("file", None), ("lake", server)):
                steps = measure(partial(_ingest, files, of), scratch)
                digests.add(steps[-1].notes["digest"])
                for step in steps:
                    seconds[step.name, kind].append(step)
            differ |= len(digests) > 1
        print(f"round {number + 1} of {rounds}", flush=True)
    print(f"{'work':<22} {'file s':>8} {'lake s':>8} {'ratio':>6} {'cpu':>6} {'peak MB':>16}")
    for name in dict.fromkeys(name for name, _ in seconds):
        file, lake = seconds[name, "file"], seconds[name, "lake"]
        wall = [statistics.median(step.seconds for step in steps) for steps in (file, lake)]
        cpu = [statistics.median(step.cpu_seconds for step in steps) for steps in (file, lake)]
        peak = [max(step.peak_bytes for step in steps) / 1e6 for steps in (file, lake)]
        print(
            f"{name:<22} {wall[0]:8.2f} {wall[1]:8.2f} {wall[1] / wall[0]:6.2f} "
            f"{cpu[1] / cpu[0]:6.2f} {peak[0]:7.0f} {peak[1]:8.0f}"
        )
    print("The products DIFFER" if differ else "Both have the same products.")
    return int(differ)


def _ingest(
    files: Files, server: postgres.PostgresServer | None, meter: Meter, folder: Path
) -> None:
    """Ingest files one after the other; the landing is not timed."""
    catalog: SecretStr | None = None if server is None else new_lake(folder / "data", server)
    engine = Engine(Settings(data_dir=folder / "data", catalog=catalog))
    for number, (name, file) in enumerate(files):
        path = folder / f"{number}.csv"
        shutil.copyfile(file, path)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        delivery = engine.land(LocalFile(path), "bench.csv", _LOG)
        with meter.timed(name) as step:
            result = engine.ingest(delivery, _LOG)
        if result.account.status is not Status.MERGED:
            raise RuntimeError(result.account.error)
        with engine.warehouse.session("comparing", _LOG) as connection:
            step.notes["digest"] = _digest(connection)


def _digest(connection: duckdb.DuckDBPyConnection) -> float:
    ((_, digest),) = connection.execute(_DIGEST).fetchall()
    return float(digest)


if __name__ == "__main__":
    sys.exit(main())
