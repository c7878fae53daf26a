"""Copies of a lake's catalog: an older one has lost commits, and two must not share their files."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from wsgiref.types import WSGIEnvironment as Environ

import pytest
from pydantic import SecretStr

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import (
    BucketUnreachableError,
    LfpError,
    OperationRefusedError,
    WarehouseInconsistentError,
)
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.operations.maintain import maintain_tables
from lfp_pipeline.settings import Settings
from testing.engine import LOG, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import create_catalog
from testing.postgres import PROGRAMS, PostgresServer
from testing.processes import PROJECT
from testing.s3_server import S3Server

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

from lfp_pipeline.warehouse.lake import Lake  # noqa: E402
from lfp_pipeline.warehouse.lake_notes import read_note, replace_note  # noqa: E402
from lfp_pipeline.warehouse.lake_owner import MARKER  # noqa: E402
from lfp_pipeline.warehouse.lake_snapshot_note import NAME  # noqa: E402
from lfp_pipeline.warehouse.schema import database_id  # noqa: E402

FILE = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", "x")))
OTHER = File("b.csv", 2, (("s1", "Ann", "new"), ("s3", "Cid", "")))


@pytest.fixture
def settings(tmp_path: Path, catalog_url: SecretStr) -> Settings:
    return Settings(
        data_dir=tmp_path, catalog=catalog_url, lake=str(tmp_path / "lake"), inbox_stable_seconds=0
    )


@pytest.fixture
def engine(settings: Settings) -> Engine:
    create_catalog(settings)
    return Engine(settings)


@pytest.fixture
def lake(engine: Engine) -> Lake:
    return lake_of(engine)


@pytest.fixture
def bucket(bucket_place: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bucket_client, "ATTEMPTS", 1)
    return bucket_place


@pytest.fixture
def in_bucket(bucket: str, settings: Settings) -> Engine:
    settings = settings.model_copy(update={"lake": f"{bucket}/lake"})
    create_catalog(settings)
    return Engine(settings)


def lake_of(engine: Engine) -> Lake:
    assert isinstance(engine.warehouse, Lake)
    return engine.warehouse


def open_session(engine: Engine) -> None:
    with engine.warehouse.session("testing", LOG):
        pass


def lose_last_commit(lake: Lake) -> None:
    """Bring the lake to the state of an older copy, which does not have the delivery yet."""
    with lake.session("restoring an older copy", LOG) as connection:
        for table in ("deliveries", "product_rows", "name_counts"):
            connection.execute(f"DELETE FROM warehouse.{table}")
    note = read_note(lake.place, NAME)
    assert note is not None
    start, _, snapshot = note.decode().rpartition(",")
    replace_note(lake.place, NAME, f"{start},{int(snapshot) + 100}\n".encode())


def run(code: str, *arguments: object) -> int:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True).returncode


def failing(status: str, name: str) -> Callable[[Environ], str | None]:
    """Return a fault: the server of the bucket answers so to all that reads an object."""
    return lambda request: status if request["PATH_INFO"].endswith(name) else None


def test_an_older_copy_of_the_catalog_gives_the_database_another_id(
    engine: Engine, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    open_session(engine)
    before = lake.cached_id()
    engine.ingest(land(engine, FILE), LOG)
    assert lake.cached_id() == before
    lose_last_commit(lake)
    with caplog.at_level(logging.WARNING):
        open_session(engine)
    assert "has lost what was committed last" in caplog.text
    assert lake.cached_id() != before


RENEW_AND_DIE = """
import os, sys
from pathlib import Path
from lfp_pipeline.engine import Engine
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse import lake_schemas
from testing.engine import LOG

folder, catalog, name, when = sys.argv[1:]
step = getattr(lake_schemas, name)

def step_and_die(*arguments):
    if when == "after":
        step(*arguments)
    os._exit(9)

setattr(lake_schemas, name, step_and_die)
with Engine(Settings(data_dir=folder, catalog=catalog)).warehouse.session("testing", LOG):
    pass
"""
"""Dies at a step of a session. Arguments: data folder, catalog, function, before or after it."""


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(("renew_database_id", "after"), marks=pytest.mark.slow),
        ("_show", "before"),
    ],
    ids=" ".join,
)
def test_a_kill_while_the_database_gets_another_id_loses_no_delivery(
    engine: Engine, lake: Lake, step: tuple[str, str]
) -> None:
    engine.ingest(land(engine, FILE), LOG)
    with lake.session("a rebuild that is killed", LOG) as connection:
        connection.execute("CREATE SCHEMA warehouse.v_0123456789ab")
    before = lake.cached_id()
    lose_last_commit(lake)
    catalog = lake.url.get_secret_value()
    assert run(RENEW_AND_DIE, engine.settings.data_dir, catalog, *step) == 9
    assert lake.cached_id() == before
    open_session(engine)
    with lake.read_session() as connection:
        assert before != lake.cached_id() == database_id(connection)
    (pending,) = engine.pending_deliveries(LOG)
    engine.ingest(pending, LOG)
    assert_tables_match([FILE], tables(engine))


@pytest.mark.parametrize("content", [b"", b"\xff", b"database_id,snapshot\nx,y\n"])
def test_a_note_that_cannot_be_understood_is_refused_with_the_remedy(
    engine: Engine, lake: Lake, content: bytes
) -> None:
    open_session(engine)
    replace_note(lake.place, NAME, content)
    with pytest.raises(WarehouseInconsistentError, match=f"{NAME} does not have.*remove it"):
        open_session(engine)
    assert read_note(lake.place, NAME) == content


def test_a_store_that_fails_for_a_moment_hides_no_loss(
    in_bucket: Engine, s3_server: S3Server
) -> None:
    engine, lake = in_bucket, lake_of(in_bucket)
    engine.ingest(land(engine, FILE), LOG)
    before = lake.cached_id()
    lose_last_commit(lake)
    s3_server.fault = failing("503", NAME)
    with pytest.raises(BucketUnreachableError, match=f"{NAME} could not be read.*503"):
        open_session(engine)
    s3_server.fault = lambda _: None
    open_session(engine)
    assert lake.cached_id() != before
    (pending,) = engine.pending_deliveries(LOG)
    engine.ingest(pending, LOG)
    assert_tables_match([FILE], tables(engine))


def test_a_note_that_cannot_be_written_fails_no_session(
    in_bucket: Engine, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(request: Environ) -> str | None:
        is_write = request["REQUEST_METHOD"] == "PUT" and request["PATH_INFO"].endswith(NAME)
        return "503" if is_write else None

    s3_server.fault = fault
    in_bucket.ingest(land(in_bucket, FILE), LOG)
    assert "The newest snapshot could not be noted" in caplog.text
    assert_tables_match([FILE], tables(in_bucket))


def copied(engine: Engine, server: PostgresServer) -> Engine:
    """Return the engine of a copy of the catalog's database, with the same files."""
    url = lake_of(engine).url.get_secret_value()
    name = url.rpartition("/")[2]
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    catalog = SecretStr(server.create_database(name))
    return Engine(engine.settings.model_copy(update={"catalog": catalog}))


def test_a_copy_of_the_catalog_is_refused_before_it_deletes_files_of_the_original(
    engine: Engine, lake: Lake, postgres: PostgresServer
) -> None:
    engine.ingest(land(engine, FILE), LOG)
    copy = copied(engine, postgres)
    engine.ingest(land(engine, OTHER), LOG)
    for path in Path(lake.place).rglob("*.parquet"):
        os.utime(path, (0, 0))
    for act in (
        lambda: open_session(copy),
        lambda: maintain_tables(copy, LOG),
        lambda: create_catalog(copy.settings),
    ):
        with pytest.raises(OperationRefusedError, match=r"is a copy of it.*--take-over"):
            act()
    assert_tables_match([FILE, OTHER], tables(engine))


@pytest.mark.slow
def test_a_restored_copy_takes_over_and_the_original_is_refused(
    engine: Engine, postgres: PostgresServer
) -> None:
    engine.ingest(land(engine, FILE), LOG)
    copy = copied(engine, postgres)
    engine.ingest(land(engine, OTHER), LOG)
    create_catalog(copy.settings, takes_over=True)
    create_catalog(copy.settings, takes_over=True)
    with pytest.raises(OperationRefusedError, match="--take-over"):
        maintain_tables(engine, LOG)
    open_session(copy)
    copy.ingest(land(copy, OTHER), LOG)
    maintain_tables(copy, LOG)
    assert_tables_match([FILE, OTHER], tables(copy))


@pytest.mark.slow
def test_a_restore_in_place_needs_no_takeover(engine: Engine, lake: Lake, tmp_path: Path) -> None:
    engine.ingest(land(engine, FILE), LOG)
    url, dump = lake.url.get_secret_value(), tmp_path / "dump"
    for command in (
        ["pg_dump", "-Fc", "-f", str(dump), url],
        ["pg_restore", "--clean", "--if-exists", "-d", url, str(dump)],
    ):
        subprocess.run([PROGRAMS[-1] / command[0], *command[1:]], check=True)
    create_catalog(engine.settings)
    engine.ingest(land(engine, OTHER), LOG)
    assert_tables_match([FILE, OTHER], tables(engine))


@pytest.mark.parametrize("has_tables", [True, False])
def test_a_catalog_of_its_own_cannot_take_over(
    engine: Engine, postgres: PostgresServer, tmp_path: Path, has_tables: bool
) -> None:
    catalog = SecretStr(postgres.create_database())
    if has_tables:
        create_catalog(Settings(data_dir=tmp_path / "elsewhere", catalog=catalog))
    settings = engine.settings.model_copy(update={"catalog": catalog})
    with pytest.raises(OperationRefusedError, match=r"belongs to the catalog at|no copy of one"):
        create_catalog(settings, takes_over=True)
    open_session(engine)


@pytest.mark.parametrize("place", ["lake", "lake/below", "."], ids=["same", "below", "above"])
@pytest.mark.parametrize("store", ["folder", "bucket"])
def test_a_second_catalog_at_a_place_is_refused(
    store: str, place: str, request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue("engine" if store == "folder" else "in_bucket")
    root = lake_of(engine).place.removesuffix("/lake")
    settings = Settings(
        data_dir=tmp_path / "host",
        catalog=SecretStr(postgres.create_database()),
        lake=root if place == "." else f"{root}/{place}",
        raw=str(tmp_path.parent / "raw-elsewhere"),
        inbox=str(tmp_path.parent / "inbox-elsewhere"),
    )
    for _ in range(2):
        with pytest.raises(OperationRefusedError, match="belongs to the catalog at"):
            create_catalog(settings)
    open_session(engine)


def test_a_missing_marker_names_the_remedy(engine: Engine, lake: Lake) -> None:
    Path(lake.place, MARKER).unlink()
    with pytest.raises(
        OperationRefusedError, match=f"{MARKER} is missing. .* run `lfp cluster init`"
    ):
        open_session(engine)
    create_catalog(engine.settings)
    open_session(engine)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"catalog_id": "x"}', b"\xff"])
def test_a_marker_that_names_no_catalog_is_refused_with_the_remedy(
    settings: Settings, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "lake").mkdir()
    marker = tmp_path / "lake" / MARKER
    marker.write_bytes(content)
    with pytest.raises(OperationRefusedError, match=f"{MARKER} names no catalog.*remove this file"):
        create_catalog(settings)
    marker.unlink()
    create_catalog(settings)


CLAIM_AND_DIE = """
import os, sys
from pathlib import Path
from lfp_pipeline.settings import Settings
from testing.lakes import create_catalog

Path.replace = lambda *_: os._exit(9)
create_catalog(Settings(data_dir=sys.argv[1], catalog=sys.argv[2]))
"""
"""Dies before the marker has its name. Arguments: data folder, catalog."""


@pytest.mark.slow
def test_a_kill_during_the_claim_of_a_place_blocks_nobody(settings: Settings) -> None:
    assert settings.catalog is not None
    catalog = settings.catalog.get_secret_value()
    assert run(CLAIM_AND_DIE, settings.data_dir, catalog) == 9
    create_catalog(settings)
    open_session(Engine(settings))


@pytest.mark.parametrize("status", ["403", "503"])
def test_a_store_that_fails_is_not_taken_for_one_that_has_the_marker(
    bucket: str, settings: Settings, s3_server: S3Server, status: str
) -> None:
    settings = settings.model_copy(update={"lake": f"{bucket}/lake"})
    s3_server.fault = failing(status, MARKER)
    with pytest.raises(BucketUnreachableError, match=f"{MARKER} could not be .*{status}"):
        create_catalog(settings)
    s3_server.fault = lambda _: None
    create_catalog(settings)
    s3_server.fault = failing(status, MARKER)
    with pytest.raises(LfpError, match=f"{MARKER} could not be read.*{status}"):
        open_session(Engine(settings))
