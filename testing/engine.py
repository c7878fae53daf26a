"""Engines in folders of their own: land files, merge them, and look at the tables."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import numpy as np
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading import record_index
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.reading.text_reader import SkippedLines
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import delta_load, direct_load
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from testing.expected_tables import File, assert_tables_match
from testing.lakes import catalog_of

LOG = logging.getLogger("test")

TABLES = {
    "products": """
        SELECT sku, name, description, delivery_id, delivered_at, row_number FROM products
    """,
    "name_counts": "SELECT name, no_of_products FROM name_counts",
    "ledger": """
        SELECT delivery_id, partition_key, sha256, size_bytes, delivered_at, status, rows_read,
            rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_stale, rows_rejected
        FROM deliveries
    """,
    "rejected_rows": "SELECT delivery_id, row_number, reason FROM rejected_rows",
}


def engine_at(folder: Path, **settings: object) -> Engine:
    """Return an engine with a data folder of its own; with `pytest --lake`, on a lake."""
    (folder / "inbox").mkdir(parents=True, exist_ok=True)
    if catalog := catalog_of(folder):
        settings.setdefault("catalog", catalog)
    defaults: dict[str, object] = {"threads": 2, "inbox_stable_seconds": 0, "max_reject_share": 1}
    values: dict[str, Any] = defaults | settings
    return Engine(Settings(data_dir=folder, **values))


def land(engine: Engine, file: File) -> Delivery:
    """Copy a file into the raw zone."""
    path = engine.settings.data_dir / f"landing-{os.getpid()}.csv"
    path.write_bytes(file.content)
    os.utime(path, ns=(file.stated_microseconds * 1000,) * 2)
    with _keeping_stated_time(engine, file):
        delivery = engine.land(LocalFile(path), file.key, LOG)
    assert delivery.delivery_id == file.delivery_id
    return delivery


@contextmanager
def _keeping_stated_time(engine: Engine, file: File) -> Iterator[None]:
    """For the block, land a file of the future, or of a time that is taken, with its own time."""
    stamp, digest = file.delivery_id.split("#")[1:]
    stems = [stem for stem in engine.raw_zone.records.stems(file.key) if stem.startswith(stamp)]
    is_taken = any(not stem.endswith(digest) for stem in stems)
    is_ahead = file.stated_microseconds > time.time_ns() // 1000
    with ExitStack() as stack:
        if is_ahead or (is_taken and file.stated is None):
            stated = mock.Mock(return_value=file.delivered_at)
            stack.enter_context(mock.patch.object(RawZone, "_time", stated))
        yield


def patch_reading(monkeypatch: pytest.MonkeyPatch, skipped: SkippedLines, *notes: str) -> None:
    """Have every reading report these skipped lines and notes, whatever the file holds."""
    read_delivery = batch_merge.read_delivery

    def read(*arguments: Any) -> Reading:  # noqa: ANN401
        return replace(read_delivery(*arguments), skipped=skipped, notes=notes)

    monkeypatch.setattr(batch_merge, "read_delivery", read)


@contextmanager
def loading_directly() -> Iterator[None]:
    """For the block, have even the smallest regular file loaded directly."""
    with (
        mock.patch.object(direct_load, "LEAST_BYTES", 0),
        mock.patch.object(direct_load, "should_load_directly", return_value=True),
    ):
        yield


@contextmanager
def loading_deltas(sample_bits: int = 32) -> Iterator[None]:
    """For the block, load even the smallest files as deltas, whatever share of rows they keep.

    Args:
        sample_bits: size of the samples of records; with few, most proposed pairs differ.
    """
    with (
        mock.patch.object(delta_load, "LEAST_BYTES", 0),
        mock.patch.object(delta_load, "LEAST_SHARE", 0.0),
        mock.patch.object(record_index, "SAMPLE_MASK", np.uint32((1 << sample_bits) - 1)),
    ):
        yield


def ingest_pending(engine: Engine) -> None:
    """Ingest all deliveries that have landed and are pending, as ingest_inbox does."""
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))


def tables(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Return all tables, sorted."""
    with engine.warehouse.read_session() as connection:
        return tables_of(connection)


@contextmanager
def editing(engine: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to the tables, for changes by hand."""
    with engine.warehouse.session("editing", LOG) as connection:
        engine.warehouse.use_tables(connection)
        yield connection
        connection.execute("USE memory")


def database_file(engine: Engine) -> Path:
    """Return the database file; on a lake, skip the test."""
    if not isinstance(engine.warehouse, Warehouse):
        pytest.skip("The test is about a database in a file.")
    return engine.warehouse.path


def tables_of(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """Return all tables, sorted, over a connection to the database."""
    return {name: sorted(connection.execute(sql).fetchall()) for name, sql in TABLES.items()}


def assert_invariants_hold(engine: Engine, files: Iterable[File]) -> None:
    """Assert that the tables are those of exactly these files."""
    assert_tables_match(files, tables(engine))
