"""After an older copy of the catalog's database was restored, no delivery is lost."""

import logging
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.engine import Engine
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.settings import Settings, load_settings
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.http_download import HttpFile
from testing.command_line import CommandLine
from testing.engine import LOG, ingest_pending, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.http_server import LOOPBACK, content_of, serving
from testing.lakes import create_catalog
from testing.postgres import PROGRAMS, PostgresServer

pytest.importorskip("duckdb_extension_ducklake")
pytestmark = pytest.mark.slow

_TIME = 1_700_000_000_000_000

A = File("a.csv", _TIME + 1, (("s1", "Ann", ""), ("s2", "Bob", "x")))
B = File("b.csv", _TIME + 2, (("s2", "Cid", ""), ("s3", "Dan", "x")))
C = File("c.csv", _TIME + 3_000_000, (("s3", "Eve", ""), ("s4", "Fay", "x"), ("s5", "", "y")))
D = File("d.csv", _TIME + 4_000_000, (("s1", "Gus", ""), ("s6", "Hal", "x")))
A_AGAIN = File("a.csv", _TIME + 5_000_000, (("s1", "Ida", ""),))


def _run(program: str, *arguments: str) -> None:
    command = [str(PROGRAMS[-1] / program), *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(params=["bucket", "folder"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, catalog_url: SecretStr) -> Settings:
    places: dict[str, str] = {}
    if request.param == "bucket":
        place = request.getfixturevalue("bucket_place")
        places = {name: f"{place}/{name}" for name in ("lake", "raw", "inbox")}
    return Settings(data_dir=tmp_path / "data", catalog=catalog_url, max_reject_share=1, **places)


def _engine(settings: Settings) -> Engine:
    settings.data_dir.mkdir(exist_ok=True)
    create_catalog(settings)
    return Engine(settings)


def _land_from_url(engine: Engine, file: File) -> Delivery:
    limits = DownloadLimits(3, 60, 10**9, LOOPBACK)
    modified = file.delivered_at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    with serving(content_of(file.content, Last_Modified=modified)) as server:
        return engine.land(HttpFile(server.url(), limits), file.key, LOG)


def test_what_landed_since_the_copy_is_merged_again(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, dump = _engine(settings), tmp_path / "dump"
    assert settings.catalog
    url = settings.catalog.get_secret_value()
    for file in (A, B):
        assert engine.ingest(land(engine, file), LOG).account.status == "merged"
    _run("pg_dump", "--format=custom", f"--file={dump}", url)
    merged = _land_from_url(engine, C)
    assert engine.ingest(merged, LOG).account.status == "merged"
    assert engine.ingest(land(engine, A_AGAIN), LOG).account.status == "merged"
    land(engine, D)

    _run("pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname", url, str(dump))
    old = Engine(settings)
    with caplog.at_level(logging.WARNING), old.warehouse.session("looking", LOG):
        pass
    assert "Run `lfp cluster init`, which adopts the deliveries that landed since" in caplog.text
    ingest_pending(old)
    assert len(tables(old)["products"]) == 3
    (problem,) = verify(old, LOG).problems
    assert problem.startswith("Raw files that have lost their record: 3 (a.csv#")
    assert "Run `lfp cluster init`" in problem
    ingest_pending(restored := _engine(settings))
    assert_tables_match([A, B, C, D, A_AGAIN], tables(restored))
    assert restored.raw_zone.find(merged.delivery_id) == merged
    assert verify(restored, LOG, full=True).problems == ()


def test_all_is_built_again_from_the_raw_zone_if_the_database_is_lost(
    settings: Settings, postgres: PostgresServer, tmp_path: Path
) -> None:
    engine = _engine(settings)
    for file in (A, B, C):
        engine.ingest(land(engine, file), LOG)
    purge_products(engine, Selection(skus=("s2",)), LOG)
    before = tables(engine)
    new = settings.model_copy(
        update={"lake": f"{settings.lake_place}-2", "data_dir": tmp_path / "new"}
        | {"raw": settings.raw_place, "inbox": settings.inbox_place}
        | {"catalog": SecretStr(postgres.create_database())}
    )
    ingest_pending(restored := _engine(new))
    after = tables(restored)
    for name in ("products", "name_counts", "rejected_rows"):
        assert after[name] == before[name]
    assert verify(restored, LOG, full=True).problems == ()


def test_init_reports_what_it_cannot_adopt(lfp: CommandLine, catalog_url: SecretStr) -> None:
    lfp.set(catalog=catalog_url.get_secret_value())
    lfp.done("cluster", "init")
    folder = lfp.folder / "data" / "raw" / "a.csv"
    folder.mkdir(parents=True)
    for suffix in ("raw", "json"):
        (folder / f"20261127T000000.000000Z-0123456789abcdef.{suffix}").write_bytes(b"x")
    ended = lfp("cluster", "init")
    assert ended.code == 0  # All else is ready: a head may start.
    assert "is ready for `lfp cluster head`." in ended.out
    assert "a.csv/20261127T000000.000000Z-0123456789abcdef.raw has no record" in ended.err


def test_commands_that_read_a_damaged_lake_name_the_remedy(
    lfp: CommandLine, catalog_url: SecretStr
) -> None:
    lfp.set(catalog=catalog_url.get_secret_value())
    lfp.done("cluster", "init")
    engine = _engine(load_settings())
    engine.ingest(land(engine, A), LOG)
    for path in Path(engine.settings.lake_place).rglob("products/*.parquet"):
        path.unlink()
    for command in (("show", "s1"), ("query", "FROM products"), ("query", "SELECT wrong")):
        ended = lfp(*command)
        assert ended.code == 1
        assert ("run `lfp rebuild`" in ended.err) == (command[1] != "SELECT wrong")
