"""One measurement, in a process of its own: seconds, CPU seconds, peak memory.

A work is a function that is given a `Meter` and an empty folder. It says with `meter.timed` what
counts; what it does besides, such as starting a server or checking the answer, does not.
"""

import multiprocessing
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.processes import (
    cpu_seconds,
    machine_cpu_seconds,
    own_peak_bytes,
    reset_own_peak,
    tree_memory_bytes,
)

_SAMPLE_SECONDS = 0.2
_MOST_PRINTED = 2_000


@dataclass
class Step:
    """One timed step of a work.

    Attributes:
        started: on the monotonic clock that all processes share.
        cpu_seconds: of the process and all that it started.
        others_cpu_seconds: of all other programs meanwhile; much of it is noise.
        peak_bytes: peak memory of the process and all that it started.
        disk_bytes: what was stored, in the end.
        wrong: what is wrong with the answer; empty: nothing; None: it was not checked.
        phases: seconds by phase, where the work reports them.
        notes: other numbers of the work.
    """

    name: str
    started: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    others_cpu_seconds: float = 0.0
    peak_bytes: int = 0
    disk_bytes: int | None = None
    wrong: str | None = None
    phases: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)


class Meter:
    """Collects the timed steps of one work."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def timed(self, name: str) -> Iterator[Step]:
        """Time a block; yield its step, which can be completed after the block."""
        step = Step(name)
        reset_own_peak()
        cpu, machine = cpu_seconds(), machine_cpu_seconds()
        step.started = time.monotonic()
        started = time.perf_counter()
        yield step
        step.seconds = time.perf_counter() - started
        step.cpu_seconds = cpu_seconds() - cpu
        others = machine_cpu_seconds() - machine - step.cpu_seconds
        step.others_cpu_seconds = max(0.0, others)
        step.peak_bytes = own_peak_bytes()
        self.steps.append(step)


Work = Callable[[Meter, Path], None]


class WorkFailedError(Exception):
    """The work ended with an error; the text is its traceback."""


def measure(work: Work, scratch: Path) -> list[Step]:
    """Do a work in a new process and a new folder below `scratch`, and return its steps.

    Raises:
        WorkFailedError: the work raised an error, or its process was killed.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=scratch))
    folder.chmod(0o755)  # A server that runs as another user writes into the folder, too.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(work, folder, sender))
    try:
        process.start()
        sender.close()
        memory: list[tuple[float, int]] = []
        while not receiver.poll(_SAMPLE_SECONDS):
            memory.append((time.monotonic(), tree_memory_bytes(process.pid or 0)))
        steps = _received(receiver)
    finally:
        process.join()
        shutil.rmtree(folder)
    for step in steps:
        ended = step.started + step.seconds
        sampled = (held for at, held in memory if step.started <= at <= ended)
        step.peak_bytes = max(step.peak_bytes, *sampled, 0)
    return steps


def _do(work: Work, folder: Path, sender: Connection) -> None:
    meter = Meter()
    log = folder / "printed.log"
    with log.open("wb") as printed:
        os.dup2(printed.fileno(), sys.stdout.fileno())
        os.dup2(printed.fileno(), sys.stderr.fileno())
    try:
        work(meter, folder)
    except Exception:  # noqa: BLE001 (the caller gets every error)
        sys.stderr.flush()
        text = log.read_text(errors="replace")[-_MOST_PRINTED:]
        sender.send(f"{text}\n{traceback.format_exc()}")
    else:
        sender.send(meter.steps)


def _received(receiver: Connection) -> list[Step]:
    try:
        received: list[Step] | str = receiver.recv()
    except EOFError:
        received = "The process was killed."
    if isinstance(received, str):
        raise WorkFailedError(received)
    return received


def stored_bytes(path: Path) -> int:
    """Return the disk space of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def warm(path: Path) -> None:
    """Read a file once, so that the next read does not wait for the disk."""
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
