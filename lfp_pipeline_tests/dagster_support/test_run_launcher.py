"""Runs are forked from a real run server, on a real instance."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from benchmarks.empty_job import empty
from lfp_pipeline.dagster_support import run_launcher
from lfp_pipeline.dagster_support.run_launcher import (
    PROCESS_TAG,
    ForkingRunLauncher,
    _ServerProcess,
)
from lfp_pipeline.dagster_support.run_server import BEGIN, BEGUN
from testing.engine import LOG
from testing.processes import PROJECT
from testing.waiting_job import remembering, waiting

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the run server"),
    pytest.mark.skipif(
        duckdb.__version__ < "2", reason="DuckDB 1 starts a thread, so no run is forked"
    ),
]

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
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launch a run of a job as the daemon does; return the id of the run."""
        run = self.create(job, config, interpreter, tags)
        self.launcher.launch_run(LaunchRunContext(run, None))
        return run.run_id

    def create(
        self,
        job: Any,  # noqa: ANN401
        config: object = None,
        interpreter: str = sys.executable,
        tags: Mapping[str, str] | None = None,
    ) -> dg.DagsterRun:
        recon: ReconstructableJob = dg.reconstructable(job)
        origin = recon.get_python_origin()
        repository = origin.repository_origin._replace(executable_path=interpreter)
        run: dg.DagsterRun = self.instance.create_run_for_job(
            job_def=job,
            run_config=config,
            tags=tags,
            job_code_origin=origin._replace(repository_origin=repository),
            status=dg.DagsterRunStatus.STARTING,
        )
        return run

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

    def request(self, run: dg.DagsterRun) -> str:
        """Return the request for the process of a run."""
        assert run.job_code_origin
        reference = self.instance.get_ref()
        return serialize_value(ExecuteRunArgs(run.job_code_origin, run.run_id, reference))

    def pid(self, run_id: str) -> int:
        return int(self.run(run_id).tags[PROCESS_TAG].split()[0])

    def monitor(self, run_id: str) -> None:
        """Look at a started run as the daemon's run monitoring does."""
        record = self.instance.get_run_record_by_id(run_id)
        monitor_started_run(self.instance, None, record, LOG)  # type: ignore[arg-type]

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


@contextmanager
def runs_in(home: Path) -> Iterator[Runs]:
    home.mkdir()
    (home / "dagster.yaml").write_text(LAUNCHER)
    with ExitStack() as stack:
        yield Runs(home, stack.enter_context(dg.DagsterInstance.from_config(str(home))))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    with runs_in(tmp_path / "home") as found:
        yield found


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Yield an instance for tests that leave its server as it is: a server takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))
        with runs_in(tmp_path_factory.mktemp("shared") / "home") as found:
            yield found


def test_runs_are_forked_from_one_warm_process(shared_runs: Runs) -> None:
    first, first_pid = shared_runs.launch_waiting()
    second, second_pid = shared_runs.launch_waiting()
    assert (first_pid, second_pid) == (shared_runs.pid(first), shared_runs.pid(second))
    assert parent_of(first_pid) == parent_of(second_pid) != os.getpid()
    third = shared_runs.launch(empty)
    assert shared_runs.end_of(third) is dg.DagsterRunStatus.SUCCESS
    assert f"Started process for run (pid: {shared_runs.pid(third)})." in shared_runs.messages(
        third
    )
    for pid in (first_pid, second_pid):
        os.kill(pid, signal.SIGKILL)
    shared_runs.end_of(first)
    shared_runs.end_of(second)


def test_a_terminated_run_is_interrupted_and_canceled(shared_runs: Runs) -> None:
    run_id, pid = shared_runs.launch_waiting()
    assert shared_runs.launcher.terminate(run_id)
    assert shared_runs.end_of(run_id) is dg.DagsterRunStatus.CANCELED
    until(lambda: not is_alive(pid))
    assert not shared_runs.launcher.terminate(run_id)


def test_another_process_with_the_id_of_a_run_is_not_interrupted(shared_runs: Runs) -> None:
    run_id, pid = shared_runs.launch_waiting()
    shared_runs.instance.add_run_tags(run_id, {PROCESS_TAG: f"{pid} 1 {run_id}"})
    assert not shared_runs.launcher.terminate(run_id)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    shared_runs.end_of(run_id)


def test_a_killed_run_has_failed_within_a_moment(shared_runs: Runs) -> None:
    run_id, pid = shared_runs.launch_waiting()
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    assert shared_runs.end_of(run_id) is dg.DagsterRunStatus.FAILURE
    assert time.monotonic() - started < 15
    expected = f"The process of run {run_id} was terminated by signal 9 (SIGKILL)."
    assert expected in shared_runs.messages(run_id)


@pytest.mark.slow
def test_runs_go_on_after_their_launcher_has_ended_and_end_the_server(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    server = parent_of(pid)
    runs.launcher.dispose()
    time.sleep(1)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.FAILURE
    until(lambda: not is_alive(server))


@pytest.mark.slow
def test_a_server_that_was_killed_is_replaced(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    os.kill(parent_of(pid), signal.SIGKILL)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS
    assert runs.launcher.terminate(run_id)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.CANCELED


@pytest.mark.slow
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


def test_a_process_begins_its_run_only_with_the_word_of_the_launcher(runs: Runs) -> None:
    run, second = runs.create(empty), runs.create(empty)
    server = _ServerProcess()
    pid = server.fork(runs.request(run))
    time.sleep(0.5)
    assert is_alive(pid)
    waiting_too = server.fork(runs.request(second))
    until(lambda: not is_alive(pid))
    server.close()
    until(lambda: not is_alive(waiting_too))
    for created in (run, second):
        assert runs.run(created.run_id).status is dg.DagsterRunStatus.STARTING


def test_requests_that_arrive_together_are_answered_one_after_the_other(runs: Runs) -> None:
    run, second = runs.create(empty), runs.create(empty)
    server = _ServerProcess()
    parent = parent_of(server.fork(runs.request(run)))
    os.kill(parent, signal.SIGSTOP)
    until(lambda: "State:\tT" in Path(f"/proc/{parent}/status").read_text())
    server._socket.settimeout(10)  # noqa: SLF001
    server._socket.sendall(f"{BEGIN}\n{runs.request(second)}\n".encode())  # noqa: SLF001
    os.kill(parent, signal.SIGCONT)
    answers = [server._answers.readline().strip() for _ in range(2)]  # noqa: SLF001
    assert answers[0] == BEGUN
    assert parent_of(int(answers[1])) == parent
    assert server.begin()
    for created in (run, second):
        assert runs.end_of(created.run_id) is dg.DagsterRunStatus.SUCCESS
    server.close()


@pytest.mark.slow
def test_a_run_without_a_confirmed_beginning_is_not_started_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = _ServerProcess.begin

    def begin_at_a_killed_server(server: _ServerProcess) -> bool:
        server._process.kill()  # noqa: SLF001
        server._process.wait()  # noqa: SLF001
        return begin(server)

    with monkeypatch.context() as patch:
        patch.setattr(_ServerProcess, "begin", begin_at_a_killed_server)
        run_id = runs.launch(empty)
    until(lambda: not is_alive(runs.pid(run_id)))
    assert runs.run(run_id).status is dg.DagsterRunStatus.STARTING
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS


@pytest.mark.slow
def test_a_run_that_is_terminated_before_it_begins_is_canceled(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begin = _ServerProcess.begin

    def begin_later(server: _ServerProcess) -> bool:
        (run,) = runs.instance.get_runs()
        assert runs.launcher.terminate(run.run_id)
        until(lambda: not is_alive(runs.pid(run.run_id)))
        return begin(server)

    monkeypatch.setattr(_ServerProcess, "begin", begin_later)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.CANCELED
    assert "Traceback" not in capfd.readouterr().err


BROKEN_SERVER = """
import os, sys
if "lfp_pipeline.dagster_support.run_server" in sys.orig_argv:
    with open({starts!r}, "a") as file:
        print("started", file=file)
    {fault}
"""

FAULTS = {
    "ends": ("os._exit(1)", "The run server has ended"),
    "has a thread": (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "Loaded code has started 1 thread",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_where_no_server_can_fork_runs_do_not_try_each_time(
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    code, reason = FAULTS[fault]
    starts = tmp_path / "starts"
    broken = BROKEN_SERVER.format(starts=str(starts), fault=code)
    (tmp_path / "sitecustomize.py").write_text(broken)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{PROJECT}")
    for _ in range(3):
        with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
            runs.launch(empty)
    assert len(starts.read_text().splitlines()) == 2
    (warning,) = [record for record in caplog.records if record.name == run_launcher.__name__]
    assert reason in warning.getMessage()

    (tmp_path / "sitecustomize.py").unlink()
    monkeypatch.setattr(runs.launcher, "_paused_until", 0.0)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS


def test_a_retry_has_not_the_process_of_its_first_run(shared_runs: Runs) -> None:
    first, pid = shared_runs.launch_waiting()
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        shared_runs.launch(empty, None, "/usr/bin/another-python", shared_runs.run(first).tags)
    retry = shared_runs.instance.get_runs(limit=1)[0]
    assert retry.run_id != first
    assert retry.tags[PROCESS_TAG] == shared_runs.run(first).tags[PROCESS_TAG]
    assert not shared_runs.launcher.terminate(retry.run_id)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    shared_runs.end_of(first)
    assert shared_runs.launcher.check_run_worker_health(retry).status is WorkerStatus.RUNNING


@pytest.mark.slow
def test_run_monitoring_fails_a_run_that_was_killed_with_its_server(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    os.kill(parent_of(pid), signal.SIGKILL)
    runs.monitor(run_id)
    assert not runs.run(run_id).is_finished
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    runs.monitor(run_id)
    assert runs.run(run_id).status is dg.DagsterRunStatus.FAILURE
    assert "The process of this run is gone: it was killed." in runs.messages(run_id)


@pytest.mark.slow
def test_a_server_that_hangs_is_replaced(runs: Runs) -> None:
    run_id, pid = runs.launch_waiting()
    hanging = parent_of(pid)
    server = runs.launcher._server  # noqa: SLF001
    assert server
    server._socket.settimeout(1)  # noqa: SLF001
    os.kill(hanging, signal.SIGSTOP)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS
    until(lambda: not is_alive(hanging))
    assert runs.launcher.terminate(run_id)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.CANCELED


NO_SECOND_FORK = """
import os, sys
fork, forks = os.fork, []

def fork_once():
    if "lfp_pipeline.dagster_support.run_server" in sys.orig_argv:
        forks.append(1)
        if len(forks) == 2:
            raise BlockingIOError("no more processes")
    return fork()

os.fork = fork_once
"""


@pytest.mark.slow
def test_a_server_that_cannot_fork_still_reports_its_runs(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_SECOND_FORK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{PROJECT}")
    run_id, pid = runs.launch_waiting()
    _, other = runs.launch_waiting()
    assert parent_of(pid) != parent_of(other)
    for process in (pid, other):
        os.kill(process, signal.SIGKILL)
    assert runs.end_of(run_id) is dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
@pytest.mark.parametrize("value", ["", "2"])
def test_a_run_has_the_number_of_threads_of_its_environment(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if value:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", value)
    file = tmp_path / "value"
    config = {"ops": {"remember": {"config": {"file": str(file)}}}}
    assert runs.end_of(runs.launch(remembering, config)) is dg.DagsterRunStatus.SUCCESS
    assert file.read_text() == value


CHANGE_AT_IMPORT = """
from pathlib import Path as _Path
_imports = _Path({imports!r})
with _imports.open("a") as _file:
    print("imported", file=_file)
if len(_imports.read_text().splitlines()) == 1:
    with _Path(__file__).with_name("settings.py").open("a") as _file:
        _file.write("# A change.\\n")
"""


@pytest.mark.slow
def test_code_that_changes_while_the_server_imports_it_is_not_used(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code" / "lfp_pipeline"
    shutil.copytree(PROJECT / "lfp_pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    imports = tmp_path / "imports"
    with (package / "definitions.py").open("a") as code:
        code.write(CHANGE_AT_IMPORT.format(imports=str(imports)))
    time.sleep(0.1)
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{PROJECT}")
    monkeypatch.chdir(package.parent)
    assert runs.end_of(runs.launch(empty)) is dg.DagsterRunStatus.SUCCESS
    assert imports.read_text().splitlines() == ["imported"] * 2


@pytest.mark.slow
def test_a_launcher_that_is_older_than_its_servers_uses_none(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_launcher, "PROTOCOL", "1")
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        runs.launch(empty)
    assert "Restart the Dagster daemon" in capfd.readouterr().err


def test_a_run_of_another_interpreter_is_left_to_the_launcher_of_dagster(runs: Runs) -> None:
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        runs.launch(empty, interpreter="/usr/bin/another-python")


def test_without_a_server_a_run_is_left_to_the_launcher_of_dagster(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/another-python")
    with pytest.raises(DagsterInvariantViolationError, match="DefaultRunLauncher requires"):
        runs.launch(empty, interpreter=sys.executable)
