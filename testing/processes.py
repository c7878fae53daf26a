"""Real processes for tests that need more than one."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[1]

HOLD_OPEN = """
import sys
with open(sys.argv[1], sys.argv[2]):
    print("open", flush=True)
    sys.stdin.read()
"""

HOLD_A_WRITE_LEASE = """
import fcntl, os, sys, signal
descriptor = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.read()
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
    """A process for the block that has said a line on its standard output, and is killed then."""
    with start(code, *arguments, environment=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process
        finally:
            process.kill()
            process.wait()


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until all have ended well; what they said."""
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in outputs]
