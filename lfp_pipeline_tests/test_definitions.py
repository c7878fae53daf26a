"""The code location loads with all of its jobs."""

import os
from pathlib import Path

import pytest

from lfp_pipeline.definitions import definitions
from testing.dagster_project import Project


def test_no_two_jobs_or_ops_have_the_same_name(project: Project):
    names = {job.name for job in project.repository.get_all_jobs()}
    assert names >= {"ingest_inbox", "ingest_products", "publish_tables", "status"}


def test_it_loads_while_another_process_creates_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inbox = tmp_path / "data" / "inbox"
    monkeypatch.setenv("LFP_DATA_DIR", str(inbox.parent))
    create = Path.mkdir

    def create_after_another(folder: Path, *arguments: int, **options: bool) -> None:
        os.makedirs(inbox, exist_ok=True)  # noqa: PTH103 (it uses no Path.mkdir)
        create(folder, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", create_after_another)
    definitions()
    assert inbox.is_dir()


def test_a_lake_is_maintained_each_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path / "data"))
    assert [schedule.name for schedule in definitions().schedules or ()] == ["verify_schedule"]
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp@127.0.0.1:1/lfp")
    names = [schedule.name for schedule in definitions().schedules or ()]
    assert names == ["verify_schedule", "maintain_schedule"]
