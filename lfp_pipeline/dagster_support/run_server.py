"""The run server: a warm process without threads, which forks a process for each run.

    python -m lfp_pipeline.dagster_support.run_server DESCRIPTOR

The socket with that descriptor gets a line for each run, the argument of `dagster api execute_run`.
The answer is a line with the id of the new process, which begins the run after another line. If the
answer is empty, the runs need another server: a file of a loaded module has changed, for example.
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
from pathlib import Path

import dagster as dg
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster._utils import get_run_crash_explanation

_PRELOADED = ("dagster._cli", "lfp_pipeline.definitions", "numpy", "isal.igzip")
_LOOK_SECONDS = 0.5
_TASKS = Path("/proc/self/task")
_THREADS = "OPENBLAS_NUM_THREADS"
_CLOCK_TICK_NS = 20_000_000
"""Longest time by which the times of files are behind the clock."""


def main() -> None:
    """Serve until the socket is closed and the last run has ended."""
    started_ns = time.time_ns()
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Each run handles an interrupt of all.
    threads = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"  # Else numpy starts threads, which a fork would lose.
    for module in _PRELOADED:
        importlib.import_module(module)
    del os.environ[_THREADS]
    if threads is not None:
        os.environ[_THREADS] = threads
    _end(
        _RunServer(connection, started_ns).serve
    )  # DuckDB would list its objects at the regular end.


class _RunServer:
    def __init__(self, connection: socket.socket, started_ns: int) -> None:
        self._connection = connection
        self._started_ns = started_ns
        self._requests = connection.makefile()
        self._loaded: dict[str, int] = {}
        self._running: dict[int, str] = {}

    def serve(self) -> None:
        is_open = True
        while is_open or self._running:
            if select.select([self._connection] if is_open else [], [], [], _LOOK_SECONDS)[0]:
                args = self._requests.readline().rstrip("\n")
                is_open = bool(args)
                if is_open:
                    self._start(args)
            self._report_crashes()

    def _start(self, args: str) -> None:
        """Start the process of a run, which begins the run once the launcher says so."""
        gate, key = os.pipe()
        pid: int | str = ""
        with suppress(OSError):  # No more processes are allowed, or the launcher has ended.
            if self._is_current(args):
                pid = self._fork(partial(_execute, args, gate, key))
                self._running[pid] = args
        with suppress(OSError):
            self._connection.sendall(f"{pid}\n".encode())
            if pid and self._requests.readline():
                os.write(key, b"\n")
        os.close(gate)
        os.close(key)

    def _is_current(self, args: str) -> bool:
        """Return whether a fork has the code as it is now, and all threads of this process."""
        if not self._loaded:
            self._load_instance(args)
            if max(self._loaded.values()) > self._started_ns - _CLOCK_TICK_NS:
                return False  # A file may have changed after its import.
        return _loaded_files() == self._loaded and len(list(_TASKS.iterdir())) == 1

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
            self._requests.close()
            self._connection.close()
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
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _execute(args: str, gate: int, key: int) -> None:
    os.close(key)
    if not os.read(gate, 1):  # The launcher, or the server, has ended.
        return
    os.close(gate)
    sys.argv = ["dagster", "api", "execute_run", args]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def _report_crash(args: str, exit_code: int) -> None:
    run_id = deserialize_value(args, ExecuteRunArgs).run_id
    with _instance_of(args) as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            message = get_run_crash_explanation(f"The process of run {run_id}", exit_code)
            instance.report_engine_event(message, run)
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
