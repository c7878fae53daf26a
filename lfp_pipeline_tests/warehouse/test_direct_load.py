"""The direct load: when it is chosen, and the tables after it."""

import gzip
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Never

import duckdb
import pytest

from lfp_pipeline.common import duckdb_tools
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline.warehouse.direct_load import LEAST_BYTES, should_load_directly
from lfp_pipeline.warehouse.schema import INCOMING, create_product_rows
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File

FILE = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "two\nlines"), ("s1", "Cid", "")))
PADDED = File("b.csv", 2, ((" s1", "Ann", ""), ("s3", "Dot", "y")))
RAGGED = File("c.csv", 3, (("s1", "Ann", ""), ("s4",), ("s5", "Eva", "z")))

GB, MB = 10**9, 10**6


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
    monkeypatch.setattr(direct_load, "should_load_directly", lambda *_: True)
    return engine_at(tmp_path)


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the partitions that are loaded directly."""
    loaded: list[str] = []
    load = direct_load.load_directly

    def noting(
        connection: duckdb.DuckDBPyConnection,
        delivery: Delivery,
        *others: Any,  # noqa: ANN401
    ) -> Reading | None:
        if reading := load(connection, delivery, *others):
            loaded.append(delivery.partition_key)
        return reading

    monkeypatch.setattr(direct_load, "load_directly", noting)
    return loaded


def test_only_regular_files_are_loaded_directly(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    loaded = loads(monkeypatch)
    for file in (FILE, PADDED, RAGGED):
        monkeypatch.setattr("lfp_pipeline.ingest.batch_merge.size_in_bytes", lambda _: 0)
        engine.ingest(land(engine, file), LOG)
    assert loaded == ["a.csv"]
    assert_invariants_hold(engine, [FILE, PADDED, RAGGED])


def test_a_direct_load_notes_the_bytes_after_a_stream(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    loaded = loads(monkeypatch)
    path = engine.settings.inbox_dir / "a.csv.gz"
    path.write_bytes(gzip.compress(b"name,sku,description\nLamp,A-1,\n") + b"rubbish")
    (done,) = engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG)
    assert isinstance(done, IngestResult)
    assert done.reading is not None
    assert loaded == ["a.csv.gz"]
    assert ["7 bytes of other data" in note for note in done.reading.notes] == [True]


def test_a_file_that_crashed_its_reader_is_not_loaded_directly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    loaded = loads(monkeypatch)
    delivery = land(engine, FILE)
    mark = engine.settings.work_dir / f"reading-{delivery.sha256}.of-the-dead"
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    engine.ingest(delivery, LOG)
    assert loaded == []
    assert not mark.exists()
    assert_invariants_hold(engine, [FILE])


def test_the_next_writer_drops_the_table_of_a_killed_load(engine: Engine):
    engine.ingest(land(engine, FILE), LOG)
    with engine.warehouse.session("testing", LOG) as connection:
        create_product_rows(connection, INCOMING)
        connection.execute(f"INSERT INTO {INCOMING} FROM warehouse.product_rows")
    with engine.warehouse.session("testing", LOG) as connection:
        found = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert ("lfp_incoming",) not in found
    assert_invariants_hold(engine, [FILE])


def test_a_failed_load_changes_no_table(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    engine.ingest(land(engine, FILE), LOG)
    before = tables(engine)["products"]

    def failing(connection: duckdb.DuckDBPyConnection) -> Never:
        connection.execute(f"UPDATE {INCOMING} SET row_number = rowid")
        raise MemoryError

    monkeypatch.setattr("lfp_pipeline.ingest.batch_merge.size_in_bytes", lambda _: 0)
    monkeypatch.setattr("lfp_pipeline.warehouse.merge.swap_in_loaded_table", failing)
    plain = File("b.csv", 2, (("s1", "Ann", ""), ("s3", "Dot", "y")))
    assert engine.ingest(land(engine, plain), LOG).account.status == "failed"
    assert tables(engine)["products"] == before
    monkeypatch.undo()
    engine.ingest(land(engine, plain), LOG)
    assert_invariants_hold(engine, [FILE, plain])


@pytest.mark.parametrize(
    ("text", "warehouse", "worth"),
    [
        (LEAST_BYTES - 1, 0, False),
        (LEAST_BYTES, 0, True),
        (90 * MB, MB, True),
        (90 * MB, 40 * MB, False),  # It fits into memory.
        (900 * MB, 400 * MB, True),
        (900 * MB, GB, False),  # The load would rewrite most of the database.
        (5 * GB, 4 * GB, True),
    ],
)
def test_only_files_about_as_large_as_the_database_are_loaded_directly(
    text: int, warehouse: int, worth: bool
):
    assert should_load_directly(text, warehouse, memory_bytes=1500 * MB) is worth


def test_a_small_merge_writes_only_the_log_and_readers_see_it(tmp_path: Path):
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FILE), LOG)
    written = engine.settings.database_path.stat().st_mtime_ns
    engine.ingest(land(engine, PADDED), LOG)
    assert engine.settings.database_path.stat().st_mtime_ns == written
    with duckdb.connect(engine.settings.database_path, read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM products").fetchall() == [(3,)]


def test_a_merged_delivery_is_not_loaded_again(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lfp_pipeline.ingest.batch_merge.size_in_bytes", lambda _: 0)
    loaded = loads(monkeypatch)
    entries = [engine.ingest(land(engine, FILE), LOG).account for _ in range(2)]
    assert entries[0] == entries[1]
    assert loaded == ["a.csv"]


def test_a_failed_checkpoint_undoes_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FILE), LOG)
    monkeypatch.setattr(duckdb_tools, "_LARGE_LOG_BYTES", 0)
    with duckdb.connect() as holder:  # DuckDB makes no checkpoint while another transaction reads.
        monkeypatch.setattr(
            duckdb_tools, "checkpoint", partial(failing_checkpoint, duckdb_tools.checkpoint, holder)
        )
        assert engine.ingest(land(engine, PADDED), LOG).account.status == "merged"
    assert_invariants_hold(engine, [FILE, PADDED])


def failing_checkpoint(
    checkpoint: Callable[..., None],
    holder: duckdb.DuckDBPyConnection,
    _: duckdb.DuckDBPyConnection,
    log: logging.Logger,
) -> None:
    """Fail as a checkpoint of a database that is not attached does."""
    checkpoint(holder, log)


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1 does not notice it")
def test_a_database_with_the_log_of_another_is_refused(tmp_path: Path):
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FILE), LOG)
    path = engine.settings.database_path
    copy = path.read_bytes()
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("CHECKPOINT warehouse")
    engine.ingest(land(engine, PADDED), LOG)
    path.write_bytes(copy)
    error = engine.ingest(land(engine, RAGGED), LOG).account.error
    assert error
    assert "do not belong together" in error
