"""`make trim-history` removes the logs of old runs, and nothing else."""

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg

from testing.dagster_project import PARTITION_TAG, Project
from testing.expected_tables import File
from testing.processes import PROJECT

DAY = 86_400
OLD, NEW = (File(key, 1_000_000, ((key, "Ann", "x"),)) for key in ("old.csv", "new.csv"))


def trim_history(home: Path) -> None:
    subprocess.run(
        ["make", "trim-history", f"INSTANCE={home}", "DAYS=30"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )


def make_older(path: Path, days: int) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2)


def test_trim_history_removes_old_logs_and_keeps_runs_and_partitions(
    project: Project, tmp_path: Path, home: Path
):
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    history, storage = folder / "history" / "runs", folder / "storage"
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        used = replace(project, instance=instance)
        old, new = (run_for(used, file) for file in (OLD, NEW))
        assert instance.all_logs(old)
    ticks = storage / "__repository__" / "file_drop_sensor"
    ticks.mkdir(parents=True)
    for number in (1, 2):
        (ticks / f"{number}.err").write_text("As Dagster keeps what a sensor says.")
    of_old = (history / f"{old}.db", storage / old, ticks / "1.err")
    for path in (*of_old, history / "index.db"):
        make_older(path, 40)

    trim_history(folder)

    assert not [path for path in of_old if path.exists()]
    assert (storage / new).exists()
    assert (ticks / "2.err").exists()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        assert {run.run_id for run in instance.get_runs()} == {old, new}
        used = replace(project, instance=instance)
        assert used.materialized("products") == {OLD.key, NEW.key}
        assert instance.all_logs(old) == []
        assert instance.all_logs(new)


def run_for(project: Project, file: File) -> str:
    project.drop(file)
    ended = project.run("ingest_products", {PARTITION_TAG: file.key})
    assert ended.success
    return ended.run_id
