"""The instance of dagster.yaml keeps what ticks log, and captures nothing of runs."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType

from testing.processes import PROJECT

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
    """Made without DAGSTER_HOME."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    shutil.copy(PROJECT / "dagster.yaml", folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def test_what_a_tick_logs_is_kept_where_the_instance_is(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    logs = instance.compute_log_manager
    with logs.open_log_stream(TICK, ComputeIOType.STDERR) as stream:
        assert stream is not None
        stream.write("one\n")
    told = logs.get_log_data(TICK)
    assert (told.stdout, told.stderr) == (None, b"one\n")
    assert (tmp_path / "home" / "storage" / "repository" / "sensor" / "1.err").exists()


def test_what_a_run_prints_is_let_alone_and_no_process_is_started_for_it(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def start(*said: object, **_: object) -> None:
        pytest.fail(f"A process is started: {said}")

    monkeypatch.setattr(subprocess, "Popen", start)
    run = saying.execute_in_process(instance=instance)
    assert run.success
    assert "said\n" in capfd.readouterr().out
    (captured,) = [event for event in run.all_events if event.event_type_value == "LOGS_CAPTURED"]
    told = instance.compute_log_manager.get_log_data(
        [run.run_id, "compute_logs", captured.logs_captured_data.file_key]
    )
    assert (told.stdout, told.stderr) == (None, None)
