"""The run launcher of `dagster.yaml`: forks each run from a warm process.

Dagster's own launcher starts a new interpreter for each run, which imports everything again. That
takes seconds of CPU, several times as long as merging a small file.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value

PROCESS_TAG = "lfp/process"
"""Tag of a run: the id and the start time of its process, and the id of the run.

Dagster copies the tags of a run to its retries, whose processes are others.
"""

_ANSWER_SECONDS = 60.0
"""Time after which a run server hangs. Importing the modules takes seconds of it."""


class ForkingRunLauncher(dg.DefaultRunLauncher):
    """Forks runs from a run server (`run_server.py`), which this process starts when needed.

    Where that is not possible, Dagster's own launcher starts the run: on other systems than Linux,
    and for code locations with another interpreter.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._lock = threading.Lock()
        self._server: _ServerProcess | None = None

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run."""
        run = context.dagster_run
        origin = run.job_code_origin
        is_forked = False
        if sys.platform == "linux" and origin and origin.executable_path == sys.executable:
            args = ExecuteRunArgs(origin, run.run_id, self._instance.get_ref())
            is_forked = self._fork(run.run_id, serialize_value(args))
        if not is_forked:
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Interrupt the process of a run, if it is running; return whether it was."""
        run = self._instance.get_run_by_id(run_id)
        pid = _process_of(run) if run is not None and not run.is_finished else None
        if run is None or pid is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        os.kill(pid, signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring can ask for the state of a process: always."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a run exists; nothing is known of Dagster's own runs."""
        if _is_forked(run) and _process_of(run) is None:
            message = "The process of this run is gone: it was killed."
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, message)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def dispose(self) -> None:
        """Let the run server end; runs in progress go on."""
        self._close_server()
        super().dispose()

    def _fork(self, run_id: str, args: str) -> bool:
        """Let a forked process execute a run; return False if there can be none.

        The process begins only once the run has its tag: no other process changes the run then,
        and a run that the server does not answer for can be started in another way.
        """
        with self._lock:
            for _ in range(2):  # The second server has the code as it is now.
                with suppress(OSError), ExitStack() as failed:
                    failed.callback(self._close_server)
                    self._server = self._server or _ServerProcess()
                    if pid := self._server.fork(args):
                        self._instance.add_run_tags(run_id, {PROCESS_TAG: _tag(pid, run_id)})
                        self._server.let_begin()
                        failed.pop_all()
                        return True
        return False

    def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None


class _ServerProcess:
    def __init__(self) -> None:
        self._socket, its_end = socket.socketpair()
        self._socket.settimeout(_ANSWER_SECONDS)
        command = [sys.executable, "-m", "lfp_pipeline.dagster_support.run_server"]
        with its_end, ExitStack() as failed:
            failed.callback(self._socket.close)
            self._process = subprocess.Popen(  # noqa: S603 (ours)
                [*command, str(its_end.fileno())], pass_fds=[its_end.fileno()]
            )
            failed.pop_all()
        # The server may outlive this object, and must not stay as a zombie when it ends.
        threading.Thread(target=self._process.wait, daemon=True).start()
        self._replies = self._socket.makefile()

    def fork(self, args: str) -> int | None:
        """Return the id of a process that waits; None: the server has ended, or is outdated."""
        try:
            self._socket.sendall(args.encode() + b"\n")
            reply = self._replies.readline().strip()
        except TimeoutError:
            self._process.kill()
            raise
        return int(reply) if reply else None

    def let_begin(self) -> None:
        """Let the waiting process begin."""
        self._socket.sendall(b"\n")

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def _tag(pid: int, run_id: str) -> str:
    return f"{pid} {_start_time(pid)} {run_id}"


def _is_forked(run: dg.DagsterRun) -> bool:
    return run.tags.get(PROCESS_TAG, "").endswith(f" {run.run_id}")


def _process_of(run: dg.DagsterRun) -> int | None:
    """Return the id of the forked process of a run; None: there is none, or it has ended."""
    if not _is_forked(run):
        return None
    tag = run.tags[PROCESS_TAG]
    pid = int(tag.split()[0])  # Another process may have the same id by now.
    return pid if _start_time(pid) and tag == _tag(pid, run.run_id) else None


def _start_time(pid: int) -> int:
    """Return the start time of a process, in ticks since the boot; 0 if it has ended."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z":
            return int(fields[19])
    return 0
