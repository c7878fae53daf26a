"""The soak itself: its trends, its expected tables, and a short run."""

import random
import time
from pathlib import Path

import duckdb
import pytest

from examples.processes import Dagster
from lfp_pipeline.engine import Engine
from testing.engine import LOG, engine_at
from testing.processes import running, until
from verification.soak.campaign import FEEDS, Load, Soak, soak
from verification.soak.expected import problems
from verification.soak.reader import look
from verification.soak.report import report
from verification.soak.trend import trend_of
from verification.soak.versions import Dropping, Version

MB = 2**20
HOUR = range(0, 3600, 10)


def test_a_figure_that_varies_around_a_level_is_flat():
    chance = random.Random(1)
    warming_up = [(150 + min(second / 10, 50) + chance.uniform(-5, 5)) * MB for second in HOUR]
    assert trend_of(HOUR, warming_up).is_flat


def test_a_leak_is_not_flat():
    leaking = [(150 + second / 30) * MB for second in HOUR]
    trend = trend_of(HOUR, leaking)
    assert not trend.is_flat
    assert trend.slope == pytest.approx(120 * MB)


def test_a_version_always_has_the_same_bytes():
    for form in ("plain", "zipped", "some rejects", "half rejects", "no skus", "cut off"):
        version = Version("a.csv", 1_000_000, 7, 300, form)
        assert version.file().delivery_id == version.file().delivery_id


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Dropping]:
    """Return an engine that has ingested all that was dropped."""
    folder = tmp_path_factory.mktemp("data")
    engine = engine_at(folder, max_reject_share=0.1)
    dropping = Dropping(random.Random(2), folder)
    for _ in range(5):
        for _ in range(6):
            dropping.drop()
        for _ in engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG):
            pass
    engine.published.publish(LOG)
    return engine, dropping


@pytest.mark.slow
def test_complete_tables_have_no_problems(soaked: tuple[Engine, Dropping]):
    engine, dropping = soaked
    assert not dropping.pending()
    assert {version.is_broken for version in dropping.versions.values()} == {True, False}
    assert problems(engine.settings.data_dir, dropping.versions, []) == []
    found = look(engine.published.path, "SELECT 1")
    assert found.problem is None
    assert found.products


@pytest.mark.slow
def test_a_version_that_was_never_ingested_is_detected(soaked: tuple[Engine, Dropping]):
    engine, dropping = soaked
    lost = Version("lost.csv", 1, 1, 20, "plain")
    others = dropping.versions | {lost.file().delivery_id: lost}
    found = problems(engine.settings.data_dir, others, [])
    assert any("ledger: 1 missing, such as ('lost.csv#" in problem for problem in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM product_rows WHERE rowid = 5", "products: 1 missing"),
        ("INSERT INTO product_rows FROM product_rows LIMIT 1", "products: 1 too much"),
        ("UPDATE deliveries SET rows_stale = rows_stale + 1", "rows, but"),
        ("DELETE FROM rejected_rows", "rejected rows: "),
    ],
)
def test_a_changed_table_is_detected(
    soaked: tuple[Engine, Dropping], tmp_path: Path, sql: str, problem: str
):
    engine, dropping = soaked
    (tmp_path / "published").mkdir()
    for path in (tmp_path / "products.duckdb", tmp_path / "published" / "products.duckdb"):
        path.write_bytes(engine.published.path.read_bytes())
    with duckdb.connect(tmp_path / "products.duckdb") as connection:
        connection.execute(sql)
    found = problems(tmp_path, dropping.versions, [])
    assert any(problem in text for text in found)
    assert all(text.startswith("products.duckdb") for text in found)


FORK_ON_REQUEST = """
import os, sys, time
print("started", flush=True)
sys.stdin.readline()
print(os.fork(), flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_kill_does_not_wait_for_a_run(tmp_path: Path):
    done = Soak(tmp_path, Dropping(random.Random(1), tmp_path))
    with running(FORK_ON_REQUEST, "-m", "lfp_pipeline.dagster_support.run_server") as server:
        dagster = Dagster("", server, tmp_path, tmp_path)
        load = Load(done, dagster, [], None, 1, print)  # type: ignore[arg-type]
        started = time.monotonic()
        again_after = load.kill()
        assert time.monotonic() - started < 1
        assert again_after
        assert not done.kills

        assert server.stdin
        assert server.stdout
        server.stdin.write("\n")
        server.stdin.flush()
        run = int(server.stdout.readline())
        assert load.kill() is None
        until(lambda: not is_running(run))
    assert len(done.kills) == 1


@pytest.mark.slow
def test_a_short_soak_loses_nothing_and_refuses_no_reader(tmp_path: Path):
    done = soak(tmp_path / "soak", 75, 3, print)
    found = problems(done.data, done.dropping.versions, FEEDS)
    assert found == []
    assert done.looks
    assert not [look for look in done.looks if look.problem]
    assert done.kills
    assert "Lost: nothing" in report(done, found)
