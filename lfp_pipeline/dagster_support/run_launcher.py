"""The run launcher of `dagster.yaml`: forks each run from a warm process.

Dagster's own launcher starts a new interpreter for each run, which imports everything again. That
takes seconds of CPU, several times as long as merging a small file.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value

from lfp_pipeline.dagster_support.run_server import BEGIN, BEGUN, PROTOCOL

_LOG = logging.getLogger(__name__)

PROCESS_TAG = "lfp/process"
"""Tag of a run: the id and the start time of its process, and the id of the run.

Dagster copies the tags of a run to its retries, whose processes are others.
"""

_ANSWER_SECONDS = 60.0
"""Time after which a run server hangs. Importing the modules takes seconds of it."""

_PAUSE_SECONDS = 300.0
"""Time without a run server after two in a row could not fork a run."""


class ForkingRunLauncher(dg.DefaultRunLauncher):
    """Forks runs from a run server (`run_server.py`), which this process starts when needed.

    Where that is not possible, Dagster's own launcher starts the run: on other systems than Linux,
    and for code locations with another interpreter.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._lock = threading.Lock()
        self._server: _ServerProcess | None = None
        self._paused_until = 0.0
        self._obstacle = ""

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
        and a run that the server does not answer for can be started in another way. If the server
        does not confirm the beginning, the process may have begun. Then the run is not started
        again; run monitoring fails it if it does not start.
        """
        with self._lock:
            if time.monotonic() < self._paused_until:
                return False
            for _ in range(2):  # The second server has the code as it is now.
                try:
                    with ExitStack() as failed:
                        failed.callback(self._close_server)
                        server = self._server = self._server or _ServerProcess()
                        pid = server.fork(args)
                        self._instance.add_run_tags(run_id, {PROCESS_TAG: _tag(pid, run_id)})
                        failed.pop_all()
                except OSError as error:
                    obstacle = str(error)
                else:
                    if not server.begin():
                        self._close_server()
                    return True
            self._pause(obstacle)
        return False

    def _pause(self, obstacle: str) -> None:
        """Leave runs to Dagster's launcher for some time; log the reason, once."""
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        if obstacle != self._obstacle:
            _LOG.warning(
                "No run server can be used: %s. Each run starts an interpreter of its own, which "
                "takes seconds; the next run server is tried after %.0f s.",
                obstacle,
                _PAUSE_SECONDS,
            )
        self._obstacle = obstacle

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
                [*command, str(its_end.fileno()), PROTOCOL], pass_fds=[its_end.fileno()]
            )
            failed.pop_all()
        # The server may outlive this object, and must not stay as a zombie when it ends.
        threading.Thread(target=self._process.wait, daemon=True).start()
        self._answers = self._socket.makefile()

    def fork(self, args: str) -> int:
        """Return the id of a process that waits; raise OSError with the reason if there is none."""
        answer = self._answer(args)
        if not answer.isdecimal():
            raise OSError(answer)
        return int(answer)

    def begin(self) -> bool:
        """Let the waiting process begin; return whether the server says so."""
        with suppress(OSError):
            return self._answer(BEGIN) == BEGUN
        return False

    def _answer(self, request: str) -> str:
        """Return the answer to a request; no other request may be sent before it."""
        answer = ""
        try:
            self._socket.sendall(f"{request}\n".encode())
            answer = self._answers.readline()
        except TimeoutError:
            self._process.kill()
            msg = f"The run server gave no answer for {_ANSWER_SECONDS:.0f} s"
            raise TimeoutError(msg) from None
        except ConnectionError:
            pass
        if not answer:
            msg = "The run server has ended, and has printed why"
            raise ConnectionError(msg)
        return answer.strip()

    def close(self) -> None:
        self._answers.close()
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
