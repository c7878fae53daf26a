"""Folders and files that cannot be written: errors name them, and making them writable helps."""

from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from testing.dagster_project import Project
from testing.disks import read_only
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File

FIRST = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
SECOND = File("b.csv", 2, (("s2", "Eva", "z"), ("s3", "Bob", "")))
REMEDY = "Make the data folder (setting LFP_DATA_DIR) and its content writable"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = engine_at(tmp_path / "data")
    engine.ingest(land(engine, FIRST), LOG)
    return engine


def test_a_database_that_cannot_be_written_keeps_its_tables(engine: Engine) -> None:
    before = tables(engine)
    delivery = land(engine, SECOND)
    with read_only(engine.warehouse.path):
        account = engine.ingest(delivery, LOG).account
        assert account.status == "failed"
        assert str(engine.warehouse.path) in str(account.error)
        assert REMEDY in str(account.error)
        assert tables(engine) == before
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))
    assert_invariants_hold(engine, [FIRST, SECOND])


def test_a_raw_zone_that_cannot_be_written_is_named(engine: Engine) -> None:
    before = tables(engine)
    with read_only(engine.settings.raw_dir), pytest.raises(LandingError) as caught:
        land(engine, SECOND)
    error = f"The folder {engine.settings.raw_dir} cannot be written: Read-only file system."
    assert str(caught.value).startswith(f"{error} {REMEDY}")
    assert tables(engine) == before
    engine.ingest(land(engine, SECOND), LOG)
    assert_invariants_hold(engine, [FIRST, SECOND])


def test_a_run_in_a_data_folder_that_cannot_be_written_names_it(project: Project) -> None:
    project.drop(FIRST)
    assert project.run("ingest_inbox").success
    project.drop(SECOND)
    before = tables(project.engine)
    with read_only(project.data):
        for run in (project.run("ingest_inbox"), project.ingest(SECOND.key)):
            assert not run.success
            (error,) = [
                event.event_specific_data.error for event in run.all_events if event.is_run_failure
            ]
            assert "Read-only file system" in error.cause.message
            assert str(project.data) in error.cause.message
            assert REMEDY in error.cause.message
        assert tables(project.engine) == before
    assert project.run("ingest_inbox").success
    assert_invariants_hold(project.engine, [FIRST, SECOND])
