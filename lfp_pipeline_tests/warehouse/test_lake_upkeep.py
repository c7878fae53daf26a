"""Rebuilds and maintenance of a lake while servers fail, clocks are wrong, or the lock is lost."""

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.common import clock
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import (
    CatalogUnreachableError,
    LfpError,
    OperationRefusedError,
    WarehouseBusyError,
    WarehouseCorruptError,
)
from lfp_pipeline.operations import maintain, rebuild
from lfp_pipeline.operations.maintain import maintain_tables
from lfp_pipeline.operations.rebuild import rebuild_products
from testing.engine import LOG, engine_at, ingest_pending, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import create_catalog, new_lake
from testing.postgres import PostgresServer
from testing.s3_server import Environ, Fault, S3Server

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

from lfp_pipeline.hosts.postgres import connect  # noqa: E402
from lfp_pipeline.warehouse import lake, lake_maintenance  # noqa: E402
from lfp_pipeline.warehouse.lake import Lake  # noqa: E402
from lfp_pipeline.warehouse.lake_maintenance import maintain_lake  # noqa: E402
from lfp_pipeline.warehouse.lake_notes import read_note, replace_note  # noqa: E402
from lfp_pipeline.warehouse.lake_snapshot_note import NAME  # noqa: E402

FILES = [
    File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", "x"))),
    File("b.csv", 2, (("s1", "Ann", "new"), ("s3", "Cid", ""))),
]


@pytest.fixture
def engine(tmp_path: Path, postgres: PostgresServer) -> Engine:
    new_lake(tmp_path, postgres)
    return filled(engine_at(tmp_path))


@pytest.fixture
def catalog(engine: Engine) -> Iterator["psycopg.Connection"]:
    assert engine.settings.catalog is not None
    with closing(connect(engine.settings.catalog, "test")) as connection:
        yield connection


def filled(engine: Engine) -> Engine:
    """Merge files, and record an operation, which no rebuild can find in the raw zone."""
    for file in FILES:
        engine.ingest(land(engine, file), LOG)
    engine.published.note_operation("purge", datetime(2020, 1, 1), "long ago", LOG)  # noqa: DTZ001
    return engine


def lake_of(engine: Engine) -> Lake:
    assert isinstance(engine.warehouse, Lake)
    return engine.warehouse


def operations(engine: Engine) -> list[str]:
    with engine.warehouse.read_session() as connection:
        rows = connection.execute("SELECT operation FROM operations ORDER BY ALL").fetchall()
    return [str(operation) for (operation,) in rows]


def files_of(engine: Engine, pattern: str) -> list[Path]:
    return list(Path(lake_of(engine).place).rglob(pattern))


def faulty(status: str, table: str) -> Fault:
    def fault(environ: Environ) -> str | None:
        path = str(environ["PATH_INFO"])
        return status if f"/{table}/" in path and path.endswith(".parquet") else None

    return fault


@pytest.mark.slow
@pytest.mark.parametrize("status", ["503", "403"])
def test_a_fault_of_the_store_is_no_damage(
    tmp_path: Path, postgres: PostgresServer, s3_server: S3Server, bucket_place: str, status: str
) -> None:
    catalog = new_lake(tmp_path, postgres, lake=bucket_place)
    engine = filled(engine_at(tmp_path, catalog=catalog, lake=bucket_place))
    s3_server.fault = faulty(status, "operations")
    with pytest.raises((LfpError, duckdb.Error), match=f"HTTP {status}"):
        rebuild_products(engine, LOG)
    s3_server.fault = lambda _: None
    assert operations(engine) == ["purge"]
    assert_tables_match(FILES, tables(engine))
    rebuild_products(engine, LOG)
    assert operations(engine) == ["purge", "rebuild_products"]
    s3_server.fault = faulty("404", "product_rows")
    with (
        pytest.raises(WarehouseCorruptError, match="run `lfp rebuild`"),
        engine.warehouse.session("testing", LOG) as connection,
    ):
        connection.execute("SELECT * FROM warehouse.products").fetchall()


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : -8] = bytes(255 - byte for byte in content[len(content) // 2 : -8])
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        pytest.param(lambda path: path.write_bytes(b"no Parquet file"), marks=pytest.mark.slow),
        pytest.param(damage_middle, marks=pytest.mark.slow),
    ],
    ids=["absent", "no Parquet", "metadata"],
)
def test_damage_is_named_and_a_rebuild_repairs_it(engine: Engine, damage: object) -> None:
    assert callable(damage)
    for path in files_of(engine, "product_rows/*.parquet"):
        damage(path)
    with (
        pytest.raises(WarehouseCorruptError, match=r"is damaged: .* run `lfp rebuild`"),
        engine.warehouse.session("testing", LOG) as connection,
    ):
        connection.execute("SELECT * FROM warehouse.products").fetchall()
    with pytest.raises(WarehouseCorruptError), lake_of(engine).read_session() as connection:
        connection.execute("SELECT * FROM products").fetchall()
    rebuild_products(engine, LOG)
    assert_tables_match(FILES, tables(engine))


def test_a_rebuild_repairs_damage_of_a_database_that_has_lost_commits(engine: Engine) -> None:
    lake = lake_of(engine)
    database_id, _, snapshot = (read_note(lake.place, NAME) or b"").decode().rpartition(",")
    replace_note(lake.place, NAME, f"{database_id},{int(snapshot) + 1000}\n".encode())
    for path in files_of(engine, "*.parquet"):
        path.unlink()
    rebuild_products(engine, LOG, allow_data_loss=True)
    ingest_pending(engine)
    assert_tables_match(FILES, tables(engine))


def test_an_absent_store_is_no_damage(engine: Engine) -> None:
    place = Path(lake_of(engine).place)
    place.rename(place.with_name("unmounted"))
    with pytest.raises(OperationRefusedError, match=r"is missing\. Mount the folder"):
        rebuild_products(engine, LOG)
    if place.exists():
        os.rename(place, place.with_name("made-meanwhile"))  # noqa: PTH104
    place.with_name("unmounted").rename(place)
    assert operations(engine) == ["purge"]


def test_a_lost_server_is_no_damage(
    engine: Engine, catalog: "psycopg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    take_snapshot = rebuild.take_snapshot

    def cut(connection: duckdb.DuckDBPyConnection) -> object:
        connection.begin()
        connection.execute("SELECT count(*) FROM warehouse.products").fetchall()
        catalog.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'lfp %' AND length(application_name) > 30"
        )
        try:
            return take_snapshot(connection)
        finally:  # DuckDB aborts the process where it closes such a connection in a transaction.
            with suppress(duckdb.Error):
                connection.rollback()

    monkeypatch.setattr(rebuild, "take_snapshot", cut)
    with pytest.raises(CatalogUnreachableError):
        rebuild_products(engine, LOG)
    assert operations(engine) == ["purge"]


@pytest.mark.slow
def test_a_rebuild_that_loses_its_mark_names_the_cause(
    engine: Engine, catalog: "psycopg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    require_same = rebuild.copy_history

    def cut(*arguments: object, **others: object) -> None:
        catalog.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'lfp rebuild'"
        )
        require_same(*arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuild, "copy_history", cut)
    with pytest.raises(LfpError, match=r"that protects the new tables was lost: .*terminat"):
        rebuild_products(engine, LOG)
    assert operations(engine) == ["purge"]
    monkeypatch.undo()
    rebuild_products(engine, LOG)
    assert_tables_match(FILES, tables(engine))


def test_no_writer_of_a_process_drops_the_schema_that_it_builds(
    engine: Engine, catalog: "psycopg.Connection"
) -> None:
    def schemas() -> int:
        (row,) = catalog.execute(
            "SELECT count(*) FROM lfp_lake.ducklake_schema WHERE end_snapshot IS NULL"
        ).fetchall()
        return int(str(row[0]))

    before = schemas()
    with engine.warehouse.shadow() as shadow:
        with shadow.session("building", LOG):
            pass
        catalog.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'lfp rebuild'"
        )
        with engine.warehouse.session("testing", LOG):
            pass
        assert schemas() == before + 1
    assert schemas() == before


class Ahead(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Ahead":
        return super().now(tz) + timedelta(hours=26)


def test_maintenance_does_not_use_the_clock_of_its_host(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = Path(lake_of(engine).place) / "data" / "orphan.parquet"
    orphan.touch()
    for module in (maintain, lake, lake_maintenance, clock):
        monkeypatch.setattr(module, "datetime", Ahead, raising=False)
    figures = maintain_tables(engine, LOG).figures
    removed = ("snapshots_expired", "files_removed", "orphans_removed")
    assert [figures[name] for name in removed] == [0, 0, 0]
    assert orphan.exists()


def test_without_the_lock_maintenance_removes_no_file(
    engine: Engine, catalog: "psycopg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = lake_of(engine)
    orphan = Path(warehouse.place) / "data" / "orphan.parquet"
    orphan.touch()
    for age in ("GRACE", "ORPHAN_AGE"):
        monkeypatch.setattr(lake_maintenance, age, timedelta(days=-1))
    later = datetime.now(UTC) + timedelta(hours=1)

    def act() -> None:
        with warehouse.session("maintaining", LOG) as connection:
            connection.execute(
                "CALL ducklake_expire_snapshots('warehouse', older_than => now()::timestamptz)"
            )
            catalog.execute("SELECT pg_terminate_backend(backend) FROM lfp.writer")
            # Nothing to write or to expire: only the removal of files remains.
            monkeypatch.setattr(lake_maintenance, "_REWRITE", "SELECT 1")
            monkeypatch.setattr(lake_maintenance, "_MERGE", "SELECT 1")
            maintain_lake(connection, later, timedelta(days=9), warehouse.hold.hold)

    files = files_of(engine, "*.parquet")
    with pytest.raises(WarehouseBusyError, match="was lost while maintaining"):
        act()
    assert set(files_of(engine, "*.parquet")) == set(files)


def test_a_dry_run_of_maintenance_changes_nothing(engine: Engine) -> None:
    files = files_of(engine, "*.parquet")
    report = maintain_tables(engine, LOG, dry_run=True)
    assert "Would write" in report.summary
    assert files_of(engine, "*.parquet") == files


def test_a_snapshot_that_expires_while_it_is_read_names_the_setting(engine: Engine) -> None:
    warehouse = engine.warehouse

    def read() -> None:
        with warehouse.read_session() as reader:
            with warehouse.session("maintaining", LOG) as connection:
                connection.execute("INSERT INTO warehouse.name_counts VALUES ('x', 1)")
                connection.execute(
                    "CALL ducklake_expire_snapshots('warehouse', older_than => now()::timestamptz)"
                )
            reader.execute("SELECT * FROM products").fetchall()

    with pytest.raises(LfpError, match="LFP_LAKE_RETENTION_HOURS"):
        read()


@pytest.mark.parametrize("table", ["ducklake_data_file", "ducklake_snapshot"])
def test_a_full_disk_of_postgresql_is_named(
    engine: Engine, catalog: "psycopg.Connection", table: str
) -> None:
    catalog.execute(f"""
        CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file "base/1": No space left on device'; END $$;
        CREATE TRIGGER fill BEFORE INSERT ON lfp_lake.{table} EXECUTE FUNCTION fill()
    """)
    error = engine.ingest(land(engine, File("c.csv", 3, (("s4", "Eve", ""),))), LOG).account.error
    assert error is not None
    assert "disk of PostgreSQL at" in error
    assert "LFP_DATA_DIR" not in error


def test_places_within_another_one_are_refused(engine: Engine) -> None:
    place = Path(lake_of(engine).place)
    for setting, other in (("raw", place / "raw"), ("inbox", place.parent)):
        settings = engine.settings.model_copy(update={setting: str(other)})
        with pytest.raises(OperationRefusedError, match=r"is within .*Set one of them to a place"):
            create_catalog(settings)
