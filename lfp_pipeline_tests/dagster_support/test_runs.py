"""Runs that were killed are failed by their own instance; runs show the names of their files."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.dagster_support.runs import (
    NOT_TRIED_TAG,
    PARTITION_TAG,
    fail_dead_runs,
    files_tag,
)
from lfp_pipeline.engine import Engine
from lfp_pipeline.hosts.liveness import Kind
from lfp_pipeline.warehouse.file_lock import FileWriterLock
from testing.dagster_project import Project, drop
from testing.engine import LOG
from testing.expected_tables import File
from testing.processes import HOLD_MARK, finish, running, start, until
from testing.shell import Shell, job

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))
DAYS = 86_400

TICK = """
import json, logging
import dagster as dg
from lfp_pipeline.engine import Engine
from lfp_pipeline.dagster_support.runs import fail_dead_runs
from lfp_pipeline.settings import load_settings
with dg.DagsterInstance.get() as instance:
    fail_dead_runs(Engine(load_settings()), instance, logging.getLogger())
    print(json.dumps({run.run_id: run.status.value for run in instance.get_runs()}))
"""


def tick(shell: Shell) -> dict[str, str]:
    """Return the statuses of the runs of an instance, after it has failed the dead ones."""
    (output,) = finish([start(TICK, environment=shell.environment)])
    statuses: dict[str, str] = json.loads(output)
    return statuses


def other_instance(shell: Shell, home: Path) -> Shell:
    folder = shell.folder.parent / "other"
    shutil.copytree(home, folder)
    shutil.copy(TEMPLATES / "dagster.yaml", folder)
    return replace(shell, environment={**shell.environment, "DAGSTER_HOME": str(folder)})


@pytest.mark.slow
def test_an_instance_fails_only_its_own_dead_runs(shell: Shell, home: Path) -> None:
    other = other_instance(shell, home)
    shell.drop(A)
    database = shell.data / "products.duckdb"
    marks = shell.data / "work" / "runs"
    with FileWriterLock(database, 0).held("testing", LOG):
        process = shell.start(*job("ingest_inbox"))
        until(lambda: len(list(marks.glob("*.run"))) == 1)
        (mark,) = marks.glob("*.run")
        assert tick(other) == {}
        assert tick(shell) == {mark.stem: "STARTED"}
        process.kill()
        process.communicate()
    assert tick(other) == {}
    assert mark.exists(), "it is not that instance's to clear"
    assert tick(shell) == {mark.stem: "FAILURE"}
    assert not mark.exists()


def test_an_unclaimed_mark_is_removed_after_thirty_days(project: Project) -> None:
    marks = project.engine.settings.run_marks_dir
    with running(HOLD_MARK, marks / "dead.run"), running(HOLD_MARK, marks / "living.run"):
        for mark in marks.iterdir():
            os.utime(mark, times=(time.time() - 31 * DAYS,) * 2)
        fail_dead_runs(project.engine, project.instance, LOG)
        assert len(list(marks.iterdir())) == 2
    (marks / "living.run").touch()
    fail_dead_runs(project.engine, project.instance, LOG)
    assert [mark.name for mark in marks.iterdir()] == ["living.run"]


@pytest.mark.slow
def test_on_several_hosts_runs_fail_that_no_process_has_or_has_begun(
    project: Project, catalog_url: SecretStr
) -> None:
    from lfp_pipeline.hosts.heartbeats import Heartbeats, create_tables  # noqa: PLC0415
    from lfp_pipeline.hosts.postgres import session  # noqa: PLC0415

    with session(catalog_url, "a test") as connection:
        create_tables(connection)
    settings = project.engine.settings.model_copy(update={"catalog": catalog_url})
    engine = Engine(settings, project.engine.warehouse)
    engine.liveness = Heartbeats(catalog_url, 0.2, 1.0)
    sent = {"dagster-celery/task_id": "a task"}

    def run(status: dg.DagsterRunStatus, **tags: str) -> str:
        job = project.repository.get_job("ingest_products")
        created = project.instance.create_run_for_job(job, status=status, tags=sent | tags)
        return created.run_id

    status = dg.DagsterRunStatus
    expected = {
        run(status.STARTED): "FAILURE",
        run(status.CANCELING): "CANCELED",
        run(status.SUCCESS): "SUCCESS",
        (lost := run(status.STARTING, **{PARTITION_TAG: "a.csv"})): "FAILURE",
        (living := run(status.STARTED)): "STARTED",
    }
    sent = {}
    expected[run(status.STARTING)] = "STARTING"  # On Kubernetes, the launcher finds it.
    with engine.liveness.hold(Kind.RUN, living):
        for seconds in (0.0, 0.5, 2.0):
            time.sleep(seconds)
            fail_dead_runs(engine, project.instance, LOG)
            found = {one.run_id: one.status.value for one in project.instance.get_runs()}
            assert (found == expected) == (seconds == 2.0)
    failed = project.instance.get_run_by_id(lost)
    assert failed
    assert failed.tags[NOT_TRIED_TAG] == "a.csv"


def tags_of_last_run(project: Project) -> Mapping[str, str]:
    return project.instance.get_runs(limit=1)[0].tags


def test_runs_have_the_names_of_their_files_as_a_tag(project: Project) -> None:
    names = [f"it's {number}.csv" for number in range(4)]
    for number, name in enumerate(names):
        drop(project.inbox, name, f"sku,name,description\ns{number},Ann,\n", number)
    assert project.run("ingest_inbox").success
    assert tags_of_last_run(project)["lfp/files"] == "it's 0.csv and 3 more"

    delivery = project.engine.raw_zone.newest(project.registered[0])
    assert delivery
    config = {"delivery_id": delivery.delivery_id}
    assert project.run("revert_delivery", config={"ops": {"revert": {"config": config}}}).success
    assert tags_of_last_run(project)["lfp/files"] == "it's 0.csv"


@pytest.mark.parametrize("names", [["it's.csv"], ["it's.csv", "b.csv"]])
def test_a_sensor_requests_runs_with_the_names_of_their_files(
    project: Project, names: list[str]
) -> None:
    for number, name in enumerate(names, start=1):
        drop(project.inbox, name, f"sku,name,description\ns{number},Ann,\n", number)
    (request,) = project.tick().run_requests
    assert request.tags["lfp/files"] == ", ".join(names)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a.csv"], "a.csv"),
        (["a.csv", "b.csv", "c.csv"], "a.csv, b.csv, c.csv"),
        (["a.csv", "b.csv", "c.csv", "d.csv", "e.csv"], "a.csv, b.csv and 3 more"),
        (["spring catalog.csv", "prices-2026-11.csv"], "spring catalog.c… and 1 more"),
        (["x" * 200], "x" * 27 + "…"),
        ([f"{number}.csv" for number in range(1_000)], "0.csv, 1.csv and 998 more"),
    ],
)
def test_the_tag_fits_into_the_list_of_runs(names: list[str], shown: str) -> None:
    (tag,) = files_tag(names).values()
    assert tag == shown
    assert len(tag) <= 28


def test_a_run_without_files_has_no_tag() -> None:
    assert files_tag([]) == {}
