"""Start real processes for tests, and the code of those that hold a file, a mark or a lock."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[1]

HOLD_OPEN = """
import sys
with open(sys.argv[1], sys.argv[2]):
    print("open", flush=True)
    sys.stdin.readline()
"""
"""Holds a file open. Arguments: path, mode. As all code here, until a line or its end comes in."""

HOLD_A_WRITE_LEASE = """
import fcntl, os, sys, signal
descriptor = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.readline()
"""

HOLD_MARK = """
import sys
from pathlib import Path
from lfp_pipeline.common.process_marks import hold_mark
with hold_mark(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""

HOLD_DATABASE = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only="True" in sys.argv):
    print("open", flush=True)
    sys.stdin.readline()
"""
"""Holds a database open without the writer lock. Arguments: path, and `True` to only read."""

HOLD_WRITER_LOCK = """
import logging, sys
from pathlib import Path
from lfp_pipeline.warehouse.duckdb_file import Warehouse
with Warehouse(Path(sys.argv[1]), 10, 10).session("merging a.csv", logging.getLogger()):
    print("held", flush=True)
    sys.stdin.readline()
"""

WAIT_FOR_WRITER_LOCK = """
import logging, sys
from pathlib import Path
from lfp_pipeline.warehouse import file_lock, writer_lock
writer_lock._SHOWN_AFTER_SECONDS = 0.1
print("waiting", flush=True)
with file_lock.FileWriterLock(Path(sys.argv[1]), 60).held("merging b.csv", logging.getLogger()):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start Python code; `sys.argv[1:]` are the arguments."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | (environment or {}),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def running(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run code for the block, which begins at its first line of output; kill the process then."""
    with start(code, *arguments, environment=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process
        finally:
            process.kill()
            process.wait()


def run_module(
    module: str, *options: object, path: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Run a module to its end; a `sitecustomize.py` in the folder `path` can patch the product."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, options)],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(PROJECT)])},
        capture_output=True,
        text=True,
        check=False,
    )


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until all processes have ended with exit code 0; return their outputs."""
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in outputs]


def until(is_done: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
