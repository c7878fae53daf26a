"""The floor: the least possible cost of the same work."""

import shutil
from pathlib import Path

import duckdb

from benchmarks.dagster_command import execute_job
from benchmarks.measure import Meter, stored_bytes, warm
from benchmarks.samples import Sample

# The fastest form that DuckDB offers, of those that also store the descriptions compressed.
_TABLE = """
CREATE TABLE products (
    name VARCHAR USING COMPRESSION uncompressed,
    sku VARCHAR USING COMPRESSION uncompressed,
    description VARCHAR USING COMPRESSION zstd
)
"""
_AS_DUCKDB_COMPRESSES = "CREATE TABLE products (name VARCHAR, sku VARCHAR, description VARCHAR)"

_READ = """
read_csv($path, header = true,
    columns = {'name': 'VARCHAR', 'sku': 'VARCHAR', 'description': 'VARCHAR'})
"""

_PROBE = f"""
SELECT count(*) FROM {_READ} AS delta JOIN big.products AS products USING (sku)
"""


def bare_load(
    sample: Sample, meter: Meter, folder: Path, *, duckdb_compresses: bool = False
) -> None:
    """`INSERT .. SELECT FROM read_csv` into a new DuckDB file, from opening it to closing it.

    No winners, no upsert, no counts, no ledger, no check.

    Args:
        duckdb_compresses: let DuckDB choose how to compress each column, which takes longer.
    """
    database = folder / "bare.duckdb"
    warm(sample.path)
    with meter.timed("load") as step, duckdb.connect(str(database)) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(_AS_DUCKDB_COMPRESSES if duckdb_compresses else _TABLE)
        connection.execute(f"INSERT INTO products FROM {_READ}", {"path": str(sample.path)})
    step.disk_bytes = stored_bytes(database)


def probe(database: Path, delta: Sample, meter: Meter, folder: Path) -> None:
    """Look up the skus of a small file in a large table, which is attached read-only first."""
    del folder
    warm(database)
    warm(delta.path)
    with meter.timed("probe") as step, duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"ATTACH '{database}' AS big (READ_ONLY)")
        found = connection.execute(_PROBE, {"path": str(delta.path)}).fetchall()[0][0]
    right = delta.skus - delta.new
    step.wrong = "" if found == right else f"{found:,} known skus instead of {right:,}"


def empty_job(instance: Path, meter: Meter, folder: Path) -> None:
    """`dagster job execute` of a job that does nothing, from the command to its end."""
    own = folder / "instance"
    shutil.copytree(instance, own)
    with meter.timed("job"):
        execute_job(own, "benchmarks.empty_job", "empty", {})
