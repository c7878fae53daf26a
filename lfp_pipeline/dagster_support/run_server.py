"""The run server: a warm process without threads, which forks a process for each run.

    python -m lfp_pipeline.dagster_support.run_server DESCRIPTOR PROTOCOL

The launcher sends requests to the socket with that descriptor, a line each, and waits for the
answer to each, also a line, before the next request:

* The argument of `dagster api execute_run`. The answer is the id of a new process, which waits; or
  the reason why runs need another server: a file of a loaded module has changed, for example.
* `begin`: the process that waits begins its run. The answer is `begun`.

When the socket is closed, the server ends after its last run.

A run is what `dagster api execute_run` makes of it, with all modules loaded. Settings and sources
are read by the run, as always.
"""

import gc
import importlib
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path

import dagster as dg
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation

from lfp_pipeline.common.text import pluralize, preview, printable

_PRELOADED = ("dagster._cli", "lfp_pipeline.definitions", "numpy", "isal.igzip")
_LOOK_SECONDS = 0.5
_TASKS = Path("/proc/self/task")
_THREADS = "OPENBLAS_NUM_THREADS"
_CLOCK_TICK_NS = 20_000_000
"""Longest time by which the times of files are behind the clock."""
_CHUNK_BYTES = 65_536

PROTOCOL = "2"
"""Version of the requests and answers: a launcher may be older than the code of its servers."""

BEGIN, BEGUN = "begin", "begun"


def main() -> None:
    """Serve until the socket is closed and the last run has ended."""
    started_ns = time.time_ns()
    if sys.argv[2:] != [PROTOCOL]:
        sys.exit("lfp_pipeline was updated. Restart the Dagster daemon, and runs start faster.")
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Each run handles an interrupt of all.
    threads = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"  # Else numpy starts threads, which a fork would lose.
    for module in _PRELOADED:
        importlib.import_module(module)
    del os.environ[_THREADS]
    if threads is not None:
        os.environ[_THREADS] = threads
    # DuckDB would list its objects at the regular end.
    _end(_RunServer(connection, started_ns).serve)


class _Requests:
    """The lines that come from a socket. Several may have arrived at once."""

    def __init__(self, connection: socket.socket) -> None:
        self.is_open = True
        self._connection = connection
        self._received = b""

    def next(self, seconds: float) -> str | None:
        """Return the next line; None: none came within some seconds, or the socket is closed."""
        while b"\n" not in self._received:
            connections = [self._connection] if self.is_open else []
            if not select.select(connections, [], [], seconds)[0]:
                return None
            received = b""
            with suppress(ConnectionResetError):
                received = self._connection.recv(_CHUNK_BYTES)
            if not received:
                self.is_open = False
                return None
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()


class _RunServer:
    def __init__(self, connection: socket.socket, started_ns: int) -> None:
        self._connection = connection
        self._started_ns = started_ns
        self._requests = _Requests(connection)
        self._loaded: dict[str, int] = {}
        self._running: dict[int, str] = {}
        self._waiting: socket.socket | None = None  # The connection to the process that waits.

    def serve(self) -> None:
        while self._requests.is_open or self._running:
            request = self._requests.next(_LOOK_SECONDS)
            if request is not None:
                answer = self._begin() if request == BEGIN else self._fork_run(request)
                with suppress(OSError):  # The launcher has ended.
                    self._connection.sendall(f"{answer}\n".encode())
            if not self._requests.is_open:
                self._discard_waiting()
            self._report_crashes()

    def _fork_run(self, args: str) -> str:
        """Fork a process that waits for the beginning of a run; return the answer."""
        self._discard_waiting()
        if obstacle := self._obstacle(args):
            return obstacle
        ours, its = socket.socketpair()
        with its:
            self._waiting = ours
            try:
                pid = self._fork(partial(_execute, args, its))
            except OSError as error:  # No more processes are allowed.
                return f"No process can be started: {error.strerror}"
        self._running[pid] = args
        return str(pid)

    def _begin(self) -> str:
        """Let the waiting process begin its run; return the answer.

        If the process is dead already, the run is reported as crashed.
        """
        if self._waiting is not None:
            with suppress(OSError):
                self._waiting.sendall(b"\n")
        self._discard_waiting()
        return BEGUN

    def _discard_waiting(self) -> None:
        """Close the connection to the process that waits, which ends if its run may not begin."""
        if self._waiting is not None:
            self._waiting.close()
        self._waiting = None

    def _obstacle(self, args: str) -> str:
        """Return why a fork would lack threads or the present code; empty: it would not."""
        if not self._loaded:
            self._load_instance(args)
            file, changed_ns = max(self._loaded.items(), key=itemgetter(1))
            if changed_ns > self._started_ns - _CLOCK_TICK_NS:
                name = printable(file)
                return f"{name} changed while the run server started, or the clock was set back"
        changed = sorted(dict(_loaded_files().items() ^ self._loaded.items()))
        if changed:
            return f"{preview(changed, limit=1)} changed after the run server had started"
        others = len(list(_TASKS.iterdir())) - 1
        return f"Loaded code has started {pluralize(others, 'thread')}" if others else ""

    def _load_instance(self, args: str) -> None:
        """Load the modules of an instance: opening the instance loads its storages."""
        with _instance_of(args):
            pass
        gc.freeze()  # Else collecting garbage would copy the pages of loaded modules.
        self._loaded = _loaded_files()

    def _report_crashes(self) -> None:
        """Let runs fail whose processes crashed, as Dagster's own server does."""
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            args = self._running.pop(pid, None)
            if args and status:
                with suppress(OSError):  # Run monitoring finds the dead run later.
                    self._fork(partial(_report_crash, args, os.waitstatus_to_exitcode(status)))

    def _fork(self, work: Callable[[], None]) -> int:
        """Return the id of a new process that does some work, and ends."""
        if pid := os.fork():
            return pid
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._connection.close()
            self._discard_waiting()
            _end(work)
        finally:  # The regular end of the interpreter would cost time.
            os._exit(1)


def _end(work: Callable[[], None]) -> None:
    """Do some work, and end the process with the exit code of the work."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:  # A run is canceled.
        code = 1
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _execute(args: str, server: socket.socket) -> None:
    with server:
        if not server.recv(1):  # The launcher, or the server, has ended.
            return
    sys.argv = ["dagster", "api", "execute_run", args]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def _report_crash(args: str, exit_code: int) -> None:
    run_id = deserialize_value(args, ExecuteRunArgs).run_id
    with _instance_of(args) as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            message = get_run_crash_explanation(f"The process of run {run_id}", exit_code)
            instance.report_engine_event(message, run)
            if run.status is dg.DagsterRunStatus.CANCELING:  # Dagster would retry a failed run.
                instance.report_run_canceled(run)
            else:
                instance.report_run_failed(run)


def _instance_of(args: str) -> dg.DagsterInstance:
    reference = deserialize_value(args, ExecuteRunArgs).instance_ref
    assert reference  # noqa: S101 (the launcher passes it)
    return dg.DagsterInstance.from_ref(reference)


def _loaded_files() -> dict[str, int]:
    """Return the files of all loaded modules with their ctimes in nanoseconds; 0: it is gone.

    The ctime changes, too, when a file with an older mtime takes the place of another one.
    """
    times = {}
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            try:
                times[file] = Path(file).stat().st_ctime_ns
            except OSError:
                times[file] = 0
    return times


if __name__ == "__main__":
    main()
