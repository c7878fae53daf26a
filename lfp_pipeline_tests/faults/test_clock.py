"""A wrong clock, or one that steps back: the later landing wins, and no wait gets longer."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from lfp_pipeline.defs.sensors import inbox_sensor
from lfp_pipeline.errors import WarehouseBusyError
from lfp_pipeline.warehouse import writer_lock
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from testing.dagster_project import Project
from testing.engine import LOG, assert_invariants_hold, engine_at, tables
from testing.expected_tables import File
from testing.processes import HOLD_DATABASE, HOLD_WRITER_LOCK, finish, running, start

A = File("a.csv", 1, (("s1", "Ann", "x"),))

INGEST_AT_ANOTHER_TIME = """
import sys, time
from datetime import timedelta
from pathlib import Path
from lfp_pipeline.common import clock
from lfp_pipeline.raw_zone import folder_sidecars
from lfp_pipeline.warehouse import merge, schema
from testing.engine import LOG, engine_at
from testing.sources import UndatedSource

right_time, shift = time.time, float(sys.argv[2])
time.time = lambda: right_time() + shift
right_now = clock.utc_now
for module in (folder_sidecars, merge, schema):
    module.utc_now = lambda: right_now() + timedelta(seconds=shift)
content = f"sku,name,description\\ns1,{sys.argv[3]},x\\n"
engine = engine_at(Path(sys.argv[1]))
delivery = engine.land(UndatedSource(content.encode()), "undated", LOG)
assert engine.ingest(delivery, LOG).account.status == "merged"
"""


def test_the_last_landing_wins_whatever_the_clock_was(tmp_path: Path) -> None:
    """The clock is years ahead, right again, years behind."""
    engine = engine_at(tmp_path)
    years = timedelta(days=3650).total_seconds()
    for number, shift in enumerate((years, 0, -years)):
        finish([start(INGEST_AT_ANOTHER_TIME, tmp_path, shift, f"n{number}")])
        found = tables(engine)
        assert [row[:2] for row in found["products"]] == [("s1", f"n{number}")]
        assert found["name_counts"] == [(f"n{number}", 1)]
    times = [delivery.delivered_at for delivery in engine.raw_zone.deliveries("undated")]
    assert len(set(times)) == 3
    assert engine.pending_deliveries(LOG) == []

    again = engine_at(tmp_path / "again")
    engine.settings.raw_dir.rename(again.settings.raw_dir)
    list(again.ingest_all([], again.pending_deliveries(LOG), LOG))
    assert tables(again)["products"] == found["products"]


def test_a_wait_for_the_database_ends_in_time_if_the_clock_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(tmp_path / "products.duckdb", 1, 1)
    right_time, steps = time.time, iter(range(10**6))
    with running(HOLD_WRITER_LOCK, warehouse.path):
        monkeypatch.setattr(writer_lock.time, "time", lambda: right_time() - 3600 * next(steps))
        started = time.monotonic()
        with (
            pytest.raises(WarehouseBusyError, match="Gave up after waiting 1 s"),
            warehouse.session("testing", LOG),
        ):
            pass
    assert time.monotonic() - started < 10


def test_a_back_off_ends_at_once_if_the_clock_steps_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop(A)
    assert project.run("ingest_inbox").success
    newer = File(A.key, 2, (("s1", "Bob", "y"),))
    project.drop(newer)
    with running(HOLD_DATABASE, project.engine.warehouse.path):
        (run,) = project.do(project.tick())
    assert not run.success
    assert not project.tick().run_requests  # The sensor backs off.

    right_time = time.time
    monkeypatch.setattr(inbox_sensor.time, "time", lambda: right_time() - 86_400)
    (run,) = project.do(project.tick())
    assert run.success
    assert_invariants_hold(project.engine, [A, newer])
