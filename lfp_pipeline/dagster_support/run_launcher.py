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
from dagster._core.launcher import LaunchRunContext
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value

PROCESS_TAG = "lfp/process"
"""Tag of a run: the id and the start time of its process."""


class ForkingRunLauncher(dg.DefaultRunLauncher):
    """Forks runs from a run server (`run_server.py`), which this process starts when needed.

    Where that is not possible, Dagster's own launcher starts the run: on other systems than Linux,
    and for code locations with another interpreter.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._lock = threading.Lock()
        self._server: _RunServer | None = None

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run."""
        run = context.dagster_run
        origin = run.job_code_origin
        pid = None
        if sys.platform == "linux" and origin and origin.executable_path == sys.executable:
            args = ExecuteRunArgs(origin, run.run_id, self._instance.get_ref())
            pid = self._fork(serialize_value(args))
        if pid is None:
            super().launch_run(context)
        else:
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{pid} {_start_time(pid)}"})

    def terminate(self, run_id: str) -> bool:
        """Interrupt the process of a run, if it is running; return whether it was."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or PROCESS_TAG not in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        pid, started = map(int, run.tags[PROCESS_TAG].split())
        if _start_time(pid) != started:  # Another process may have the same id by now.
            return False
        os.kill(pid, signal.SIGINT)
        return True

    def dispose(self) -> None:
        """Let the run server end; runs in progress go on."""
        if self._server is not None:
            self._server.close()
        super().dispose()

    def _fork(self, args: str) -> int | None:
        """Return the id of a new process for a run; None: there can be none."""
        with self._lock, suppress(OSError):
            for _ in range(2):  # The second server has the code as it is now.
                self._server = self._server or _RunServer()
                if pid := self._server.fork(args):
                    return pid
                self._server.close()
                self._server = None
        return None


class _RunServer:
    def __init__(self) -> None:
        self._socket, its_end = socket.socketpair()
        command = [sys.executable, "-m", "lfp_pipeline.dagster_support.run_server"]
        with its_end, ExitStack() as failed:
            failed.callback(self._socket.close)
            process = subprocess.Popen(  # noqa: S603 (ours)
                [*command, str(its_end.fileno())], pass_fds=[its_end.fileno()]
            )
            failed.pop_all()
        # The server may outlive this object, and must not stay as a zombie when it ends.
        threading.Thread(target=process.wait, daemon=True).start()
        self._replies = self._socket.makefile()

    def fork(self, args: str) -> int | None:
        """Return the id of a new process; None: the server has ended, or its code is outdated."""
        with suppress(OSError):
            self._socket.sendall(args.encode() + b"\n")
            reply = self._replies.readline().strip()
            return int(reply) if reply.isdigit() else None
        return None

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def _start_time(pid: int) -> int:
    """Return the start time of a process, in ticks since the boot; 0 if it has ended."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z":
            return int(fields[19])
    return 0
