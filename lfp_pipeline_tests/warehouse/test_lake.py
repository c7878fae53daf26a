"""The lake: one fenced writer, on a real PostgreSQL; a writer that has lost its lock is refused."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import duckdb
import pytest
from pydantic import SecretStr

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import (
    CatalogUnreachableError,
    WarehouseBusyError,
    WarehouseInconsistentError,
)
from lfp_pipeline.settings import Settings
from testing.engine import LOG, engine_at, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import create_catalog, new_lake
from testing.postgres import PostgresServer, running_server
from testing.processes import finish, running, start

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

from lfp_pipeline.hosts.postgres import connect  # noqa: E402
from lfp_pipeline.warehouse import (  # noqa: E402
    catalog_lock,
    lake_catalog,
    lake_connection,
    writer_lock,
)
from lfp_pipeline.warehouse.lake import Lake  # noqa: E402
from lfp_pipeline.warehouse.schema import schema_in_use  # noqa: E402

FILE = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", "x")))
OTHER = File("b.csv", 2, (("s1", "Ann", "new"), ("s3", "Cid", "")))

_LOCK_BACKEND = "SELECT backend FROM lfp.writer"
_NO_FENCE = """
CREATE OR REPLACE FUNCTION lfp.fence() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'
"""
_INSERT = "INSERT INTO warehouse.name_counts VALUES ('Ann', 1)"


@pytest.fixture
def engine(tmp_path: Path, postgres: PostgresServer) -> Engine:
    new_lake(tmp_path, postgres)
    return engine_at(tmp_path)


@pytest.fixture
def lake(engine: Engine) -> Lake:
    assert isinstance(engine.warehouse, Lake)
    with engine.warehouse.session("creating the tables", LOG):
        pass
    return engine.warehouse


@pytest.fixture
def catalog(engine: Engine) -> Iterator["psycopg.Connection"]:
    assert engine.settings.catalog is not None
    with closing(connect(engine.settings.catalog, "test")) as connection:
        yield connection


def cut_lock_connection(catalog: "psycopg.Connection") -> None:
    catalog.execute(f"SELECT pg_terminate_backend(({_LOCK_BACKEND}))")


def names(lake: Lake) -> list[tuple[str, int]]:
    with lake.read_session() as connection:
        return connection.execute("SELECT * FROM name_counts").fetchall()


def act_as_zombie(lake: Lake, catalog: "psycopg.Connection", *, begins_before: bool) -> None:
    """Lose the lock in a session, have another process write, and then commit the same row."""
    with lake.session("merging", LOG) as zombie:
        if begins_before:
            zombie.begin()
            zombie.execute(_INSERT)
        cut_lock_connection(catalog)
        with Lake(lake.url, lake.place, 10).session("merging elsewhere", LOG) as successor:
            successor.execute(_INSERT)
        if begins_before:
            zombie.commit()
        else:
            zombie.execute(_INSERT)


@pytest.mark.parametrize("begins_before", [True, False], ids=["before", "after"])
def test_a_writer_that_has_lost_its_lock_is_refused(
    lake: Lake, catalog: "psycopg.Connection", begins_before: bool
) -> None:
    with pytest.raises(WarehouseBusyError, match="was lost while merging"):
        act_as_zombie(lake, catalog, begins_before=begins_before)
    assert names(lake) == [("Ann", 1)]


def test_without_the_lock_wrong_counts_are_no_error_of_the_delivery(
    lake: Lake, catalog: "psycopg.Connection"
) -> None:
    def act() -> None:
        with lake.session("merging", LOG):
            cut_lock_connection(catalog)
            msg = "the number of products did not grow by the new skus"
            raise WarehouseInconsistentError(msg)

    with pytest.raises(WarehouseBusyError, match="was lost while merging"):
        act()


def test_a_writer_that_has_lost_its_lock_is_refused_though_the_next_one_has_ended_without_commit(
    lake: Lake, catalog: "psycopg.Connection"
) -> None:
    def act() -> None:
        with lake.session("merging", LOG) as zombie:
            zombie.begin()
            zombie.execute(_INSERT)
            cut_lock_connection(catalog)
            names_of_session(Lake(lake.url, lake.place, 10))
            zombie.commit()

    with pytest.raises(WarehouseBusyError):
        act()
    assert names(lake) == []


def attach_plainly(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Attach the lake as people do who leave READ_ONLY out: the connection has no name."""
    connection = duckdb.connect(config=dict(lake_connection.CONFIG))
    lake_connection.load_extensions(connection, lake.place)
    url = psycopg.conninfo.conninfo_to_dict(lake.url.get_secret_value())
    parts = " ".join(f"{key}={value}" for key, value in url.items())
    connection.execute(f"ATTACH 'ducklake:postgres:{parts}' AS shop (META_SCHEMA 'lfp_lake')")
    return connection


def assert_is_refused(lake: Lake, schema: str) -> None:
    """Verify that a connection without a name can commit nothing."""
    with attach_plainly(lake) as plain:
        for statement in (
            f"INSERT INTO shop.{schema}.name_counts VALUES ('Zoe', 9)",
            f"UPDATE shop.{schema}.name_counts SET no_of_products = 9",
            "CALL ducklake_merge_adjacent_files('shop')",
            "CALL ducklake_expire_snapshots('shop', older_than => now()::timestamptz)",
        ):
            with pytest.raises(duckdb.Error, match=lake_catalog.FENCE_ERROR):
                plain.execute(statement)


def test_a_connection_without_a_name_can_never_commit(
    engine: Engine, lake: Lake, catalog: "psycopg.Connection"
) -> None:
    for file in (FILE, OTHER):
        engine.ingest(land(engine, file), LOG)
    before = names(lake)
    with lake.read_session() as connection:
        schema = schema_in_use(connection)
    assert_is_refused(lake, schema)  # Between sessions.
    with lake.lock.held("testing", LOG):
        assert_is_refused(lake, schema)
        with lake.locked_session(LOG):
            assert_is_refused(lake, schema)
        assert_is_refused(lake, schema)
    with pytest.raises(WarehouseBusyError), lake.session("merging", LOG):
        cut_lock_connection(catalog)
    assert_is_refused(lake, schema)
    assert names(lake) == before


def test_init_replaces_an_older_fence_that_admits_connections_without_a_name(
    engine: Engine, lake: Lake, catalog: "psycopg.Connection"
) -> None:
    catalog.execute("UPDATE lfp.writer SET token = ''")
    catalog.execute("ALTER TABLE lfp.writer ALTER token SET NOT NULL, ALTER token SET DEFAULT ''")
    catalog.execute(_NO_FENCE)
    create_catalog(engine.settings)
    assert catalog.execute("SELECT token FROM lfp.writer").fetchall() == [(None,)]
    names_of_session(lake)
    assert catalog.execute("SELECT token FROM lfp.writer").fetchall() == [(None,)]


@pytest.mark.parametrize("begins_before", [True, False], ids=["before", "after"])
def test_without_the_fence_such_a_writer_repeats_rows(
    lake: Lake,
    catalog: "psycopg.Connection",
    monkeypatch: pytest.MonkeyPatch,
    begins_before: bool,
) -> None:
    """The tests above can fail: a lock and a token alone do not suffice."""
    catalog.execute("ALTER TABLE lfp_lake.ducklake_snapshot DISABLE TRIGGER lfp_fence")
    with pytest.raises(WarehouseInconsistentError, match="The fence of the catalog"):
        names_of_session(lake)
    unverified = vars(lake_catalog)["_STATE"].replace("tgenabled = 'A'", "true")
    monkeypatch.setattr(lake_catalog, "_STATE", unverified)
    monkeypatch.setattr(lake_connection, "_SETTINGS", ())  # DuckLake tries again, as by default.
    with pytest.raises(WarehouseBusyError):  # Only at the end of the session.
        act_as_zombie(lake, catalog, begins_before=begins_before)
    assert names(lake) == [("Ann", 1), ("Ann", 1)]


def names_of_session(lake: Lake) -> None:
    with lake.session("testing", LOG):
        pass


@contextmanager
def commit_in_flight(
    lake: Lake, catalog: "psycopg.Connection"
) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """Yield the connection of a commit that has passed the fence; its lock is lost meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(WarehouseBusyError))
        stack.enter_context(lake.session("merging", LOG))
        token = catalog.execute("SELECT token FROM lfp.writer").fetchone()
        assert token is not None
        in_flight = stack.enter_context(closing(connect(lake.url, str(token[0]), transaction=True)))
        in_flight.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        in_flight.execute(
            "INSERT INTO lfp_lake.ducklake_snapshot "
            "SELECT max(snapshot_id) + 1, now(), max(schema_version), max(next_catalog_id), "
            "max(next_file_id) FROM lfp_lake.ducklake_snapshot"
        )
        cut_lock_connection(catalog)
        yield in_flight


def test_a_takeover_waits_for_a_commit_in_flight(lake: Lake, catalog: "psycopg.Connection") -> None:
    with commit_in_flight(lake, catalog) as in_flight:
        has_taken_over = Event()

        def take_over() -> None:
            with Lake(lake.url, lake.place, 10).lock.held("merging elsewhere", LOG):
                has_taken_over.set()

        successor = Thread(target=take_over)
        successor.start()
        assert not has_taken_over.wait(1)
        in_flight.commit()
        assert has_taken_over.wait(10)
        successor.join()


def test_a_takeover_gives_up_at_the_end_of_the_wait_and_names_the_process(
    lake: Lake, catalog: "psycopg.Connection"
) -> None:
    with (
        commit_in_flight(lake, catalog),
        pytest.raises(WarehouseBusyError, match=r"Gave up .* held by process \d+ \(merging\)"),
        Lake(lake.url, lake.place, 2).lock.held("merging elsewhere", LOG),
    ):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_takeover_ends_a_suspended_commit(lake: Lake, catalog: "psycopg.Connection") -> None:
    with commit_in_flight(lake, catalog) as in_flight:
        with Lake(lake.url, lake.place, 20).session("merging elsewhere", LOG) as successor:
            successor.execute(_INSERT)
        with pytest.raises(psycopg.Error):
            in_flight.commit()
    assert names(lake) == [("Ann", 1)]


def test_processes_that_give_up_or_are_killed_leave_no_row(
    lake: Lake, catalog: "psycopg.Connection"
) -> None:
    def waiting() -> list[tuple[object, ...]]:
        return catalog.execute("SELECT backend FROM lfp.waiting_writer").fetchall()

    catalog.execute("INSERT INTO lfp.waiting_writer VALUES (-1, 'killed', 1, '', now())")
    with (
        lake.session("merging", LOG),
        pytest.raises(WarehouseBusyError, match="Gave up"),
        Lake(lake.url, lake.place, 1.2).lock.held("merging elsewhere", LOG),
    ):
        pass
    assert waiting() == []


def test_a_lost_hold_is_forgotten_in_any_order_of_the_ends(
    lake: Lake, catalog: "psycopg.Connection"
) -> None:
    has_lost, has_next = Event(), Event()

    def lose() -> None:
        with suppress(WarehouseBusyError), lake.session("first", LOG):
            has_lost.set()
            has_next.wait(30)

    first = Thread(target=lose)
    first.start()
    assert has_lost.wait(30)
    cut_lock_connection(catalog)
    with lake.session("second", LOG):
        assert lake.hold.hold is not None
        assert lake.hold.hold.purpose == "second"
        has_next.set()
        first.join()
    assert lake.hold.hold is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DROP TRIGGER lfp_fence ON lfp_lake.ducklake_snapshot", "The fence of the catalog"),
        (
            "ALTER TABLE lfp_lake.ducklake_snapshot ENABLE REPLICA TRIGGER lfp_fence",
            "The fence of the catalog",
        ),
        (
            _NO_FENCE,
            "missing, disabled or changed",
        ),
        (
            "UPDATE lfp_lake.ducklake_metadata SET value = '9' WHERE key = 'version'",
            "has version 9 of DuckLake's tables",
        ),
        ("UPDATE lfp.lake_identity SET version = 99", "version 99 of those of lfp_pipeline"),
        (
            "UPDATE lfp_lake.ducklake_metadata SET value = '/elsewhere/' WHERE key = 'data_path'",
            "has its files in /elsewhere",
        ),
    ],
    ids=["no fence", "replica", "another body", "DuckLake", "tables", "place"],
)
def test_each_acquisition_verifies_the_catalog(
    lake: Lake, catalog: "psycopg.Connection", damage: str, message: str
) -> None:
    catalog.execute(damage)
    with pytest.raises(WarehouseInconsistentError, match=message), lake.lock.held("testing", LOG):
        pass
    with pytest.raises(WarehouseInconsistentError):  # DuckLake may find it first.
        names_of_session(lake)


def test_init_restores_the_fence(engine: Engine, lake: Lake, catalog: "psycopg.Connection") -> None:
    catalog.execute("DROP TRIGGER lfp_fence ON lfp_lake.ducklake_snapshot")
    create_catalog(engine.settings)
    names_of_session(lake)


def test_a_catalog_without_tables_names_the_remedy(tmp_path: Path, catalog_url: SecretStr) -> None:
    engine = engine_at(tmp_path, catalog=catalog_url)
    assert not engine.warehouse.exists
    assert engine.warehouse.cached_id() is None
    assert engine.warehouse.lock.holder is None
    with pytest.raises(WarehouseInconsistentError, match="Run `lfp cluster init`"):
        names_of_session(engine.warehouse)


def test_init_may_run_several_times_and_at_once(tmp_path: Path, catalog_url: SecretStr) -> None:
    settings = Settings(data_dir=tmp_path, catalog=catalog_url)
    threads = [Thread(target=create_catalog, args=(settings,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    create_catalog(settings)
    engine = Engine(settings)
    assert engine.ingest(land(engine, FILE), LOG).account.status == "merged"


def test_an_unreachable_catalog_is_named_and_no_password_is_shown(tmp_path: Path) -> None:
    url = SecretStr("postgresql://lfp:s3cret@127.0.0.1:1/lfp")
    lake = Lake(url, str(tmp_path), 1)
    for act in (lambda: lake.exists, lake.connect, lake.cached_id, lambda: names_of_session(lake)):
        with pytest.raises(CatalogUnreachableError, match=r"127\.0\.0\.1:1/lfp") as raised:
            act()
        assert "s3cret" not in f"{raised.value} {raised.value.__cause__} {lake!r}"


def test_no_password_is_in_what_duckdb_shows(lake: Lake) -> None:
    host = lake.url.get_secret_value().replace("lfp@", "lfp:s3cret@")
    with Lake(SecretStr(host), lake.place, 1).connect() as connection:
        shown = connection.execute("SELECT path FROM duckdb_databases()").fetchall()
        shown += connection.execute("SELECT secret_string FROM duckdb_secrets()").fetchall()
        with pytest.raises(duckdb.Error) as raised:
            connection.execute("SELECT * FROM postgres_query('__ducklake_metadata_warehouse', 'x')")
    assert "s3cret" not in f"{shown} {raised.value}"


def test_a_restart_of_postgresql_fails_a_session_and_no_later_one(
    tmp_path: Path,
) -> None:
    with running_server() as server:
        engine = engine_at(tmp_path / "data", catalog=new_lake(tmp_path / "data", server))
        engine.ingest(land(engine, FILE), LOG)

        def act() -> None:
            with engine.warehouse.session("merging", LOG) as session:
                server.stop()
                server.start()
                session.execute(_INSERT)

        with pytest.raises(WarehouseBusyError):
            act()
        engine.ingest(land(engine, OTHER), LOG)
        assert_tables_match([FILE, OTHER], tables(engine))


HOLD = """
import sys
from pathlib import Path
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.warehouse import catalog_lock
from testing.engine import LOG, engine_at

catalog_lock.BEAT_SECONDS = 0.2
engine = engine_at(Path(sys.argv[1]))
with engine.warehouse.session("merging a.csv", LOG) as session:
    session.begin()
    session.execute("INSERT INTO warehouse.name_counts VALUES ('Ann', 1)")
    if sys.argv[2] == "committing":  # As DuckLake does between its snapshot and its COMMIT.
        (token,), = connect(engine.settings.catalog, "test").execute("SELECT token FROM lfp.writer")
        commit = connect(engine.settings.catalog, token, transaction=True)
        commit.execute("SELECT FROM lfp.writer FOR SHARE")
    print("held", flush=True)
    sys.stdin.readline()
    session.commit()
"""
"""Holds the writer lock until a line comes in. Arguments: data folder, what it does meanwhile."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_lock, "DEAD_AFTER_SECONDS", 1.5)
    monkeypatch.setattr(writer_lock, "_REPORT_SECONDS", 0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("step", ["merging", "committing"])
def test_a_suspended_writer_loses_its_lock(
    lake: Lake, engine: Engine, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(HOLD, engine.settings.data_dir, step) as holder:
        holder.send_signal(signal.SIGSTOP)
        with Lake(lake.url, lake.place, 20).session("merging elsewhere", LOG) as successor:
            successor.execute(_INSERT)
        holder.send_signal(signal.SIGCONT)
        _, errors = holder.communicate("\n")
    assert holder.returncode
    assert "The writer lock was lost while merging a.csv" in errors
    assert re.search(r"\(merging a.csv\) for \d+ s, has shown no sign of life", caplog.text)
    assert names(lake) == [("Ann", 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_writer_that_takes_long_keeps_its_lock(lake: Lake, engine: Engine) -> None:
    with running(HOLD, engine.settings.data_dir, "merging") as holder:
        with (
            pytest.raises(WarehouseBusyError, match="Gave up after waiting 3 s"),
            Lake(lake.url, lake.place, 3).session("merging elsewhere", LOG),
        ):
            pass
        holder.communicate("\n")
    assert not holder.returncode
    assert names(lake) == [("Ann", 1)]


MERGE = """
import os, sys
from pathlib import Path
from testing.engine import LOG, engine_at
from lfp_pipeline.model.delivery import Delivery

engine = engine_at(Path(sys.argv[1]), threads=1)
wanted = set(sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
for delivery in engine.raw_zone.all_deliveries():
    if delivery.delivery_id in wanted:
        assert engine.ingest(delivery, LOG).account.status == "merged"
"""


def merge_by_processes(engine: Engine, files: list[File], processes: int) -> None:
    """Merge files by several processes at once, a part each; then compare the tables."""
    ids = [land(engine, file).delivery_id for file in files]
    started = [
        start(MERGE, engine.settings.data_dir, *ids[number::processes])
        for number in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    finish(started)


def same_new_skus(number: int, files: int, rows: int) -> list[File]:
    return [
        File(
            f"f{number}-{file}.csv",
            100 * number + file + 1,
            tuple((f"new-{number}-{row}", f"Name {row % 7}", str(file)) for row in range(rows)),
        )
        for file in range(files)
    ]


@pytest.mark.slow
def test_several_processes_merge_the_same_new_skus_exactly(engine: Engine) -> None:
    files = same_new_skus(0, files=8, rows=50)
    merge_by_processes(engine, files, processes=4)
    assert_tables_match(files, tables(engine))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_rounds_of_the_same_new_skus_are_exact(engine: Engine) -> None:
    merged: list[File] = []
    for number in range(50):
        files = same_new_skus(number, files=20, rows=1000)
        merge_by_processes(engine, files, processes=4)
        merged += files
        with engine.warehouse.read_session() as connection:
            assert connection.execute(
                "SELECT count(*), count(DISTINCT sku) FROM products"
            ).fetchall() == [(1000 * (number + 1),) * 2]
    assert_tables_match(merged, tables(engine))
