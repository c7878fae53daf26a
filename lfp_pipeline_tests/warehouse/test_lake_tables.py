"""The tables of a lake: equal to those of a file, for readers on snapshots, and maintained."""

import json
import os
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.delivery import Kind
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.operations.maintain import maintain_tables
from lfp_pipeline.operations.read_tables import open_tables
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import revert_delivery
from lfp_pipeline.operations.run_query import run_query
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG, engine_at, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import new_lake
from testing.postgres import PostgresServer
from testing.processes import running, until
from testing.random_files import random_files

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

from lfp_pipeline.hosts.postgres import connect  # noqa: E402
from lfp_pipeline.warehouse.lake import Lake  # noqa: E402
from lfp_pipeline.warehouse.lake_connection import (  # noqa: E402
    CONFIG,
    attach_lake,
    data_path,
    load_extensions,
)
from lfp_pipeline.warehouse.lake_maintenance import maintain_lake  # noqa: E402

FILE = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", "x"), ("s2", "Bob", "y"), ("bad",)))
_DOCS = Path(__file__).parents[2] / "docs" / "cluster.md"

OTHER = File("b.csv", 2, (("s1", "Ann", "new"), ("s3", "Cid", "")))

# All columns of all tables, but for the folder and the times of work.
_TABLES = {
    "products": "*",
    "name_counts": "*",
    "deletions": "*",
    "rejected_rows": "*",
    "deliveries": """
        * EXCLUDE (source, merged_at, seconds)
        REPLACE (regexp_replace(error, '[0-9: -]+UTC', '') AS error)
    """,
}


@pytest.fixture
def engine(tmp_path: Path, postgres: PostgresServer) -> Engine:
    new_lake(tmp_path, postgres)
    return engine_at(tmp_path)


def lake_of(engine: Engine) -> Lake:
    assert isinstance(engine.warehouse, Lake)
    return engine.warehouse


def all_rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.warehouse.read_session() as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in _TABLES.items()
        }


def schemas(engine: Engine) -> list[str]:
    assert engine.settings.catalog is not None
    with closing(connect(engine.settings.catalog, "test")) as connection:
        found = connection.execute(
            "SELECT schema_name FROM lfp_lake.ducklake_schema "
            "WHERE end_snapshot IS NULL AND schema_name <> 'main'"
        ).fetchall()
    return [str(schema) for (schema,) in found]


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))]
)
def test_a_lake_has_the_same_rows_as_a_file(
    tmp_path: Path, postgres: PostgresServer, seed: int
) -> None:
    random = Random(seed)
    files = random_files(random, number=8, rows=25)
    random.shuffle(files)
    new_lake(tmp_path / "lake", postgres)
    skus = tmp_path / "skus.csv"
    skus.write_text('"sku"\n"s1"\n"s2"\n')
    os.utime(skus, (1_000_000_000, 1_000_000_000))
    engines = [engine_at(tmp_path / "file", catalog=None), engine_at(tmp_path / "lake")]
    for engine in engines:
        for file in files:
            engine.ingest(land(engine, file), LOG)
        revert_delivery(engine, files[-1].delivery_id, LOG)
        purge = engine.raw_zone.land(LocalFile(skus), PURGES, LOG, kind=Kind.DELETION)
        assert engine.ingest(purge, LOG).account.rows.read == 2
    in_file, on_lake = engines
    late = random_files(Random(seed + 100), number=1, rows=25)
    for engine in engines:
        engine.ingest(land(engine, late[0]), LOG)
    found, expected = all_rows(on_lake), all_rows(in_file)
    for table, rows in expected.items():
        assert set(found[table]) ^ set(rows) == set(), table
        assert len(found[table]) == len(rows)


def test_a_large_file_has_right_row_numbers_with_several_threads(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    new_lake(tmp_path, postgres)
    engine = engine_at(tmp_path, threads=4)
    rows = 300_000
    path = tmp_path / "large.csv"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'Name ' || i % 1000 AS name, 'sku-' || i AS sku, 'Text ' || i AS "
            f"description FROM range(1, {rows + 1}) AS numbers(i)) TO '{path}' (HEADER)"
        )
    source = engine.catalog.source_at(str(path))
    for number in range(2):
        delivery = engine.land(source, "large.csv", LOG)
        assert engine.ingest(delivery, LOG).account.rows.accounted == rows
        with engine.warehouse.read_session() as connection:
            wrong = connection.execute(
                "SELECT count(*) FROM products WHERE sku <> 'sku-' || row_number"
            ).fetchall()
        assert wrong == [(0,)], number
        path.touch()


def test_a_reader_keeps_its_snapshot_during_merges_and_maintenance(engine: Engine) -> None:
    engine.ingest(land(engine, FILE), LOG)
    assert not engine.published.is_stale
    with engine.published.session() as reader:
        before = reader.execute("SELECT * FROM products ORDER BY sku").fetchall()
        engine.ingest(land(engine, OTHER), LOG)
        maintain_tables(engine, LOG)
        assert reader.execute("SELECT * FROM warehouse.products ORDER BY sku").fetchall() == before
        with pytest.raises(duckdb.Error):
            reader.execute("INSERT INTO name_counts VALUES ('x', 1)")
    assert len(tables(engine)["products"]) == 3


def test_a_role_with_the_grants_of_readers_reads_and_cannot_write(engine: Engine) -> None:
    engine.ingest(land(engine, FILE), LOG)
    url = engine.settings.catalog
    assert url is not None
    with closing(connect(url, "test")) as connection:
        role = f"reader_{url.get_secret_value()[-8:]}"
        connection.execute(f"CREATE ROLE {role} LOGIN")
        grants = re.findall(r"^ {4}(GRANT .* TO) reader;$", _DOCS.read_text(), re.MULTILINE)
        assert len(grants) == 2
        for grant in grants:
            connection.execute(f"{grant} {role}")
    reader_url = type(url)(url.get_secret_value().replace("lfp@", f"{role}@"))
    with open_tables(engine) as found:
        result = run_query(found, "SELECT sku FROM products ORDER BY sku")
        assert list(result.rows()) == [("s1",), ("s2",)]
    with (
        open_tables(engine) as found,
        pytest.raises(LfpError, match="disabled by configuration"),
    ):
        run_query(found, "SELECT * FROM read_text('/etc/hostname')")
    reading = Engine(Settings(data_dir=engine.settings.data_dir, catalog=reader_url))
    with reading.published.session() as connection:
        assert connection.execute("SELECT sku FROM products ORDER BY sku").fetchall() == [
            ("s1",),
            ("s2",),
        ]
    assert reading.warehouse.lock.holder is None
    with duckdb.connect(config=dict(CONFIG)) as plain:  # As people attach the lake.
        path = data_path(engine.settings.lake_place)
        load_extensions(plain, path)
        attach_lake(plain, reader_url, path, "lake", "plain", "CREATE_IF_NOT_EXISTS false")
        assert plain.execute("SELECT count(*) FROM lake.products").fetchall() == [(2,)]
        schema = schemas(engine)[0]
        with pytest.raises(duckdb.Error, match="permission denied"):
            plain.execute(f"DELETE FROM lake.{schema}.product_rows")
    assert len(tables(engine)["products"]) == 2


def test_a_rebuild_makes_another_schema_with_the_same_tables_and_id(engine: Engine) -> None:
    files = random_files(Random(5), number=5, rows=20)
    for file in files:
        engine.ingest(land(engine, file), LOG)
    (old,), before, id_ = schemas(engine), all_rows(engine), engine.warehouse.cached_id()
    with engine.published.session() as reader:
        rebuild_products(engine, LOG)
        assert reader.execute("SELECT count(*) FROM products").fetchall() == [
            (len(before["products"]),)
        ]
    (new,) = schemas(engine)
    assert new != old
    assert engine.warehouse.cached_id() == id_
    after = all_rows(engine)
    assert {key: after[key] for key in ("products", "name_counts")} == {
        key: before[key] for key in ("products", "name_counts")
    }
    engine.ingest(land(engine, OTHER), LOG)
    assert_tables_match([*files, OTHER], tables(engine))
    assert verify(engine, LOG, full=True).problems == ()
    assert schemas(engine) == [new]


REBUILD = """
import sys
from pathlib import Path
from testing.engine import LOG, engine_at
from lfp_pipeline.operations.shadow_build import catch_up, replayable_deliveries, shadow_engine

engine = engine_at(Path(sys.argv[1]))
with shadow_engine(engine) as shadow:
    catch_up(shadow, replayable_deliveries(engine), LOG, {})
    print("built", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_killed_rebuild_is_removed_by_the_next_writer_and_a_living_one_is_not(
    engine: Engine,
) -> None:
    engine.ingest(land(engine, FILE), LOG)
    (live,) = schemas(engine)
    with running(REBUILD, engine.settings.data_dir) as process:
        engine.ingest(land(engine, OTHER), LOG)
        assert len(schemas(engine)) == 2
        process.kill()
        process.wait()

    def is_removed() -> bool:
        with engine.warehouse.session("testing", LOG):
            pass
        return schemas(engine) == [live]

    until(is_removed)
    assert_tables_match([FILE, OTHER], tables(engine))


def test_maintenance_merges_files_expires_snapshots_and_removes_files_after_a_time(
    engine: Engine,
) -> None:
    files = random_files(Random(7), number=6, rows=10)
    for file in files:
        engine.ingest(land(engine, file), LOG)
    lake, before = lake_of(engine), tables(engine)
    planned = maintain_tables(Engine(engine.settings, read_only=True), LOG, dry_run=True)
    assert planned.figures["snapshots_expired"] == 0
    assert tables(engine) == before
    done = maintain_tables(engine, LOG)
    assert int(done.figures["files"]) < int(done.figures["files_before"])
    assert (done.figures["snapshots_expired"], done.figures["files_removed"]) == (0, 0)
    orphan = Path(lake.place) / "data" / "orphan.parquet"
    orphan.touch()
    parquet = set(Path(lake.place).rglob("*.parquet"))
    soon = datetime.now(UTC) + timedelta(minutes=30)
    with lake.session("maintaining", LOG) as connection:
        first = maintain_lake(connection, soon, timedelta(0), lake.hold.hold)
    assert first.snapshots_expired > 5
    assert (first.files_removed, first.orphans_removed) == (0, 0)
    assert set(Path(lake.place).rglob("*.parquet")) >= parquet
    later = datetime.now(UTC) + timedelta(days=2)
    with lake.session("maintaining", LOG) as connection:
        second = maintain_lake(connection, later, timedelta(0), lake.hold.hold)
    assert second.files_removed > 5
    assert second.orphans_removed == 1
    assert not orphan.exists()
    assert tables(engine) == before
    engine.ingest(land(engine, OTHER), LOG)
    assert_tables_match([*files, OTHER], tables(engine))


def test_maintenance_of_a_file_moves_its_log(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, catalog=None)
    assert "nothing to do" in maintain_tables(engine, LOG).summary
    engine.ingest(land(engine, FILE), LOG)
    assert "Would move" in maintain_tables(engine, LOG, dry_run=True).summary
    assert "Moved" in maintain_tables(engine, LOG).summary
    assert not list(tmp_path.glob("*.wal"))
    assert json.dumps(dict(maintain_tables(engine, LOG).figures))
