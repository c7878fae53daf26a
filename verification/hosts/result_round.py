"""The same result as on one machine: files in an inbox, a head and two workers."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import duckdb

from testing.engine import TABLES
from testing.expected_tables import File, differences
from verification.hosts.bench import Bench
from verification.hosts.checks import Tables, ViolationError, as_delivered, check, read_tables
from verification.hosts.cluster import Cluster
from verification.hosts.files import Files, write
from verification.hosts.report import Options, Report

_ROWS = 300
_LONGEST_SECONDS = 1800
_TABLES_OF_ONE_FILE = {name: sql for name, sql in TABLES.items() if name != "ledger"}


def run(bench: Bench, options: Options) -> Report:
    """Ingest files by two workers; compare all tables with those of file mode."""
    report = Report()
    # A run has few files, so that both workers get some.
    cluster = Cluster(bench, bench.new_database(), {"sensor_batch_files": 20})
    dropped = Files(Random(options.seed), skus=5_000, rows=_ROWS).draw(options.times)
    try:
        cluster.init()
        cluster.start_head()
        for worker in bench.workers[:2]:
            cluster.start_worker(worker)
        cluster.drop(dropped)
        seconds = cluster.until_idle(len(dropped), _LONGEST_SECONDS)
        found = read_tables(bench, cluster.lake)
        delivered = as_delivered(found, dropped)
        check(found, delivered, complete=True)
        _check_file_mode(found, delivered, bench.folder / "file-mode")
        report.lines.append(
            f"{len(dropped)} files by 2 workers in {seconds:.0f} s: the tables are those of file "
            f"mode, {len(found['products']):,} products"
        )
    except ViolationError as error:
        again = f"make hosts WHAT=result SEED={options.seed} TIMES={options.times}"
        report.violations.append(f"{error}\nAgain: {again}")
    finally:
        cluster.end()
    return report


def _check_file_mode(found: Tables, delivered: list[File], folder: Path) -> None:
    """Ingest the same deliveries into a database in a file, and compare all tables."""
    inbox = folder / "inbox"
    for file in delivered:
        path = write(file, folder / "files")
        inbox.mkdir(parents=True, exist_ok=True)
        path.rename(inbox / path.name)
    outside = {name: text for name, text in os.environ.items() if not name.startswith("LFP_")}
    settings = {
        "LFP_DATA_DIR": str(folder),
        "LFP_MAX_REJECT_SHARE": "1",
        "LFP_INBOX_STABLE_SECONDS": "0",
        "DAGSTER_HOME": str(folder / "home"),
    }
    command = [sys.executable, "-m", "lfp_pipeline", "ingest"]
    ended = subprocess.run(
        command, env=outside | settings, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        msg = f"lfp ingest in file mode: {ended.stdout}{ended.stderr}"
        raise ViolationError(msg)
    with duckdb.connect(folder / "products.duckdb", read_only=True) as connection:
        problems = [
            problem
            for name, sql in _TABLES_OF_ONE_FILE.items()
            for problem in differences(name, found[name], connection.execute(sql).fetchall())
        ]
    if problems:
        raise ViolationError("\n".join(problems))
