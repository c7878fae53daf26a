"""The writer lock: one writer at a time, with a note of its holder and of the waiting processes.

products.duckdb.lock           the lock
products.duckdb.writer.json    its holder
products.duckdb.waiting/       a mark of each process that has waited for more than a second
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from filelock import FileLock, Timeout

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark, live_marks
from lfp_pipeline.common.progress import Progress, announce
from lfp_pipeline.errors import WarehouseBusyError

_REPORT_SECONDS = 5.0
_SHOWN_AFTER_SECONDS = 1.0
_MARKS = "*.json"


@dataclass(frozen=True)
class LockHolder:
    """A process that holds the lock or waits for it.

    Attributes:
        purpose: what it wants the lock for.
        pid: its process id.
        host: the machine that it runs on.
        since: when it got the lock or began to wait, in seconds since the epoch.
    """

    purpose: str
    pid: int
    host: str
    since: float

    @classmethod
    def of_this_process(cls, purpose: str) -> Self:
        """Return this process, from now on."""
        return cls(purpose, os.getpid(), socket.gethostname(), time.time())

    @classmethod
    def read_from(cls, path: Path) -> Self | None:
        """Return the process that a note names; None: the note is missing or damaged."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(path.read_bytes())
            return cls(str(note["purpose"]), int(note["pid"]), note["host"], float(note["since"]))
        return None

    def write_to(self, path: Path) -> None:
        """Write a note that names this process."""
        path.write_text(json.dumps(asdict(self)))

    def __str__(self) -> str:
        seconds = max(time.time() - self.since, 0)
        return f"process {self.pid} ({self.purpose}) for {seconds:.0f} s"


@dataclass(frozen=True)
class WriterLock:
    """The lock of one database.

    The kernel frees the lock when its holder dies. A file beside it names the holder, for people.

    Attributes:
        database: path of the database file.
        wait_seconds: the longest wait.
    """

    database: Path
    wait_seconds: float

    @contextmanager
    def held(self, purpose: str, log: logging.Logger) -> Iterator[None]:
        """Hold the lock for the block, and show the purpose to other processes.

        Raises:
            WarehouseBusyError: another run held the lock for longer than the longest wait.
        """
        lock = FileLock(self._beside("lock"))
        self._acquire(lock, purpose, log)
        try:
            self._write_holder(purpose)
            try:
                yield
            finally:
                self._beside("writer.json").unlink(missing_ok=True)
        finally:
            lock.release()

    @property
    def holder(self) -> LockHolder | None:
        """The holder, as far as its note says; None also where the holder was killed."""
        holder = LockHolder.read_from(self._beside("writer.json"))
        return holder if holder and _is_alive(holder) else None

    @property
    def waiting(self) -> list[LockHolder]:
        """The waiting processes, the longest first; marks of dead processes are removed."""
        folder = self._beside("waiting")
        for _ in claim_stale_marks(folder, _MARKS):
            pass
        waiting = (LockHolder.read_from(mark) for mark in live_marks(folder, _MARKS))
        return sorted(filter(None, waiting), key=lambda process: process.since)

    def _beside(self, suffix: str) -> Path:
        return self.database.with_name(f"{self.database.name}.{suffix}")

    def _acquire(self, lock: FileLock, purpose: str, log: logging.Logger) -> None:
        waiter = LockHolder.of_this_process(purpose)
        started = time.monotonic()
        soon = min(_SHOWN_AFTER_SECONDS, _REPORT_SECONDS, self.wait_seconds)
        if _acquired(lock, soon):
            return
        with self._shown_as_waiting(waiter):
            while not _acquired(lock, self._seconds_to_next_report(started)):
                waited = time.monotonic() - started
                holder = LockHolder.read_from(self._beside("writer.json")) or "another run"
                if waited >= self.wait_seconds:
                    msg = (
                        f"Gave up after waiting {waited:.0f} s for the writer lock, held by "
                        f"{holder} (setting LFP_WRITER_WAIT_SECONDS)."
                    )
                    raise WarehouseBusyError(msg)
                announce(Progress(f"the writer lock, held by {holder}", "waiting for"))
                log.info("Waiting for the writer lock for %.0f s; held by %s", waited, holder)

    def _seconds_to_next_report(self, started: float) -> float:
        remaining = self.wait_seconds - (time.monotonic() - started)
        return max(0.0, min(_REPORT_SECONDS, remaining))

    @contextmanager
    def _shown_as_waiting(self, waiter: LockHolder) -> Iterator[None]:
        with ExitStack() as marks:
            if self.wait_seconds:
                with suppress(OSError):  # On a full disk, the wait is not shown.
                    name = f"{uuid4().hex}.json"
                    waiter.write_to(marks.enter_context(hold_mark(self._beside("waiting") / name)))
            yield

    def _write_holder(self, purpose: str) -> None:
        note = self._beside("writer.json")
        temporary = note.with_suffix(".part")
        try:
            LockHolder.of_this_process(purpose).write_to(temporary)
            temporary.replace(note)
        except OSError:  # On a full disk, reading still works; the holder is not shown.
            temporary.unlink(missing_ok=True)


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds, poll_interval=0.02)
    except Timeout:
        return False
    return True


def _is_alive(holder: LockHolder) -> bool:
    """Return whether a process lives, as far as this machine knows."""
    if holder.host != socket.gethostname():
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
