"""Demonstration: ingests a realistic zipped file, and checks the tables against its facts."""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import duckdb

from lfp_pipeline.cli.sample import sample_in, write_sample
from lfp_pipeline.common.text import printable, visible
from lfp_pipeline.model.ledger_entry import ROW_COLUMNS, RowCounts
from lfp_pipeline.settings import Settings, load_settings

_INGEST = "dagster job execute -m lfp_pipeline.definitions -j ingest_inbox"

_LEDGER = f"""
SELECT status, error, {", ".join(ROW_COLUMNS)}
FROM deliveries WHERE partition_key = $partition_key ORDER BY delivered_at DESC LIMIT 1
"""

_TOTALS = """
SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM products),
    (SELECT count(*) FROM name_counts)
"""

_TOP_NAMES = (
    "SELECT name, no_of_products FROM name_counts ORDER BY no_of_products DESC, name LIMIT 5"
)


def main() -> int:
    """Run the demonstration; return 0 if the tables are as expected, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    settings = load_settings()
    sample = sample_in(settings.inbox_dir, arguments.rows, arguments.seed)
    facts = _make_sample(settings, sample, arguments.rows, arguments.seed)
    print(f"\nIngesting it: {_INGEST}")
    started = time.perf_counter()
    command = [sys.executable, "-m", *_INGEST.split()]
    code = subprocess.run(command, check=False).returncode  # noqa: S603 (the command is fixed)
    seconds = time.perf_counter() - started
    if code:
        print("\nSome files of the inbox were not merged: see above.")
    return _show(settings.database_path, sample.name, facts, seconds)


def _make_sample(settings: Settings, sample: Path, rows: int, seed: int) -> dict[str, object]:
    """Drop the sample into the inbox unless it exists there, and return its facts."""
    facts_file = settings.data_dir / "demo" / f"{sample.name}.json"
    if sample.exists() and facts_file.exists():
        print(f"{os.path.relpath(sample)} exists already.")
    else:
        started = time.perf_counter()
        sample.parent.mkdir(parents=True, exist_ok=True)
        facts_file.parent.mkdir(parents=True, exist_ok=True)
        facts_file.write_text(json.dumps(asdict(write_sample(sample, rows, seed))))
        megabytes, seconds = sample.stat().st_size / 1e6, time.perf_counter() - started
        print(f"Made {os.path.relpath(sample)}: {megabytes:.1f} MB in {seconds:.1f} s")
    facts: dict[str, object] = json.loads(facts_file.read_text())
    return facts


def _show(database: Path, key: str, facts: dict[str, object], seconds: float) -> int:
    if not database.exists():
        return 1
    with duckdb.connect(str(database), read_only=True) as connection:
        row = connection.execute(_LEDGER, {"partition_key": key}).fetchone()
        deliveries, products, names = connection.execute(_TOTALS).fetchall()[0]
        top_names = connection.execute(_TOP_NAMES).fetchall()
    if row is None or row[0] != "merged":
        print(f"\n{key} is not merged: {visible(row[1]) if row else 'no row in deliveries'}")
        return 1
    rows = RowCounts(*row[2:])
    print(f"\n{rows.read:>12,} rows read: {rows}")
    print(f"{products:>12,} products\n{names:>12,} names; the most frequent:")
    for name, count in top_names:
        print(f"{count:>16,} {printable(name)}")
    print(f"{seconds:>12.1f} s for the whole command, Dagster's start included")
    if deliveries > 1:
        print("\nThe tables also hold other deliveries, so their sizes are not checked.")
        return 0
    expected = (facts["rows"], facts["skus"], facts["names"])
    if (rows.read, products, names) != expected:
        print(f"\nWRONG: the generator made (rows, skus, names) = {expected}.")
        return 1
    print("\nRows, products and names are exactly those that the generator made.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
