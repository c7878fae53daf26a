"""Killed runs are failed by their own instance, also if two instances share a data folder."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.dagster_support.runs import fail_dead_runs
from lfp_pipeline.warehouse.writer_lock import WriterLock
from testing.dagster_project import Project
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


def test_an_instance_fails_only_its_own_dead_runs(shell: Shell, home: Path) -> None:
    other = other_instance(shell, home)
    shell.drop(A)
    database = shell.data / "products.duckdb"
    marks = shell.data / "work" / "runs"
    with WriterLock(database, 0).held("testing", LOG):
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
