"""Runs are forked from a real run server, on a real instance."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.launcher import LaunchRunContext

from benchmarks.empty_job import empty
from lfp_pipeline.dagster_support.run_launcher import PROCESS_TAG, ForkingRunLauncher
from testing.processes import PROJECT
from testing.waiting_job import waiting

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the run server")

_WAIT_SECONDS = 60.0

LAUNCHER = """
run_launcher:
  module: lfp_pipeline.dagster_support.run_launcher
  class: ForkingRunLauncher
"""


@dataclass
class Runs:
    """An instance whose runs are forked, and what started them."""

    home: Path
    instance: dg.DagsterInstance

    @property
    def launcher(self) -> ForkingRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, ForkingRunLauncher)
        return launcher

    def launch(
        self,
        job: Any,  # noqa: ANN401 (a decorated function)
        config: object = None,
        interpreter: str = sys.executable,
    ) -> str:
        """Launch a run of a job as the daemon does; return the id of the run."""
        recon: ReconstructableJob = dg.reconstructable(job)
        origin = recon.get_python_origin()
        repository = origin.repository_origin._replace(executable_path=interpreter)
        run = self.instance.create_run_for_job(
            job_def=job,
            run_config=config,
            job_code_origin=origin._replace(repository_origin=repository),
            status=dg.DagsterRunStatus.STARTING,
        )
        self.launcher.launch_run(LaunchRunContext(run, None))
        return run.run_id

    def launch_waiting(self) -> tuple[str, int]:
        """Launch a run that waits; return its id and the id of its process once it waits."""
        file = self.home / f"begun-{time.time_ns()}"
        run_id = self.launch(
            waiting, {"ops": {"wait": {"config": {"file": str(file), "seconds": _WAIT_SECONDS}}}}
        )
        until(lambda: file.exists() and file.read_text())
        return run_id, int(file.read_text())

    def end_of(self, run_id: str) -> dg.DagsterRunStatus:
        """Return the status of a run once it has ended."""
        until(lambda: self.run(run_id).is_finished)
        return self.run(run_id).status

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def pid(self, run_id: str) -> int:
        return int(self.run(run_id).tags[PROCESS_TAG].split()[0])

    def messages(self, run_id: str) -> str:
        return "\n".join(entry.message for entry in self.instance.all_logs(run_id))


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(LAUNCHER)
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        yield Runs(home, instance)


def test_runs_are_forked_from_one_warm_process(runs: Runs) -> None:
    first, first_pid = runs.launch_waiting()
    second, second_pid = runs.launch_waiting()
    assert (first_pid, second_pid) == (runs.pid(first), runs.pid(second))
    assert parent_of(first_pid) == parent_of(second_pid) != os.getpid()
    third = runs.launch(empty)
    assert runs.end_of(third) is dg.DagsterRunStatus.SUCCESS
    assert f"Started process for run (pid: {runs.pid(third)})." in runs.messages(third)
    for pid in (first_pid, second_pid):
        os.kill(pid, signal.SIGKILL)
    runs.end_of(first)
    runs.end_of(second)


def test_a_terminated_run_is_interrupted_and_canceled(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    assert runs.launcher.terminate(run_id)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.CANCELED
    until(lambda: not is_alive(pid))
    assert not runs.launcher.terminate(run_id)


def test_another_process_with_the_id_of_a_run_is_not_interrupted(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    runs.instance.add_run_tags(run_id, {PROCESS_TAG: f"{pid} 1"})
    assert not runs.launcher.terminate(run_id)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    runs.end_of(run_id)


def test_a_killed_run_has_failed_within_a_moment(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    assert runs.end_of(run_id) is dg.DagsterRunStatus.FAILURE
    assert time.monotonic() - started < 15
    expected = f"The process of run {run_id} was terminated by signal 9 (SIGKILL)."
    assert expected in runs.messages(run_id)


def test_runs_go_on_after_their_launcher_has_ended_and_end_the_server(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    server = parent_of(pid)
    runs.launcher.dispose()
    time.sleep(1)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.FAILURE
    until(lambda: not is_alive(server))


def test_a_server_that_was_killed_is_replaced(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    os.kill(parent_of(pid), signal.SIGKILL)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS
    assert runs.launcher.terminate(run_id)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.CANCELED


def test_a_run_has_the_code_as_it_is_when_the_run_starts(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code" / "lfp_pipeline"
    shutil.copytree(PROJECT / "lfp_pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{PROJECT}")
    monkeypatch.chdir(package.parent)
    _, first = runs.launch_waiting()
    _, second = runs.launch_waiting()
    with (package / "settings.py").open("a") as code:
        code.write("# A change.\n")
    _, third = runs.launch_waiting()
    assert parent_of(first) == parent_of(second) != parent_of(third)
    for pid in (first, second, third):
        os.kill(pid, signal.SIGKILL)


def test_a_run_of_another_interpreter_is_left_to_the_launcher_of_dagster(runs: Runs) -> None:
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        runs.launch(empty, interpreter="/usr/bin/another-python")


def test_without_a_server_a_run_is_left_to_the_launcher_of_dagster(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/another-python")
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        runs.launch(empty, interpreter=sys.executable)
