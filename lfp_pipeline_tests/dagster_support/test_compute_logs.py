"""The instance of dagster.yaml keeps the logs of ticks, and captures no output of runs."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType

from lfp_pipeline.common.project_folder import TEMPLATES

TICK = ["repository", "sensor", "1"]


@dg.op
def say() -> None:
    sys.stdout.write("said\n")


@dg.job
def saying() -> None:
    say()


@pytest.fixture
def instance(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Yield an instance of dagster.yaml, made without DAGSTER_HOME."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    shutil.copy(TEMPLATES / "dagster.yaml", folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def test_the_logs_of_ticks_are_in_the_folder_of_the_instance(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    logs = instance.compute_log_manager
    with logs.open_log_stream(TICK, ComputeIOType.STDERR) as stream:
        assert stream is not None
        stream.write("one\n")
    data = logs.get_log_data(TICK)
    assert (data.stdout, data.stderr) == (None, b"one\n")
    assert (tmp_path / "home" / "storage" / "repository" / "sensor" / "1.err").exists()


def test_the_output_of_runs_is_not_captured(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def start(*said: object, **_: object) -> None:
        pytest.fail(f"A process is started: {said}")

    monkeypatch.setattr(subprocess, "Popen", start)
    run = saying.execute_in_process(instance=instance)
    assert run.success
    assert "said\n" in capfd.readouterr().out
    (captured,) = [event for event in run.all_events if event.event_type_value == "LOGS_CAPTURED"]
    data = instance.compute_log_manager.get_log_data(
        [run.run_id, "compute_logs", captured.logs_captured_data.file_key]
    )
    assert (data.stdout, data.stderr) == (None, None)
