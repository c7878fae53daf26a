"""One writer at a time: a lock beside the database that tells who holds it, and who waits.

products.duckdb.lock           the lock
products.duckdb.writer.json    who holds it
products.duckdb.waiting/       a mark for everyone who has waited for a moment
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
from lfp_pipeline.errors import WarehouseBusyError

_REPORT_SECONDS = 5.0
_SHOWN_AFTER_SECONDS = 1.0
_MARKS = "*.json"


@dataclass(frozen=True)
class LockHolder:
    """Who has the lock, or waits for it.

    Attributes:
        purpose: what for.
        pid: of the process.
        host: that it runs on.
        since: when it got the lock, or began to wait, in seconds since the epoch.
    """

    purpose: str
    pid: int
    host: str
    since: float

    @classmethod
    def of_this_process(cls, purpose: str) -> Self:
        """One that begins now."""
        return cls(purpose, os.getpid(), socket.gethostname(), time.time())

    @classmethod
    def read_from(cls, note: Path) -> Self | None:
        """The one that a note tells of; None: there is none, or it is damaged."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(note.read_bytes())
            return cls(str(told["purpose"]), int(told["pid"]), told["host"], float(told["since"]))
        return None

    def write_to(self, note: Path) -> None:
        """Tell it in a note."""
        note.write_text(json.dumps(asdict(self)))

    def __str__(self) -> str:
        seconds = max(time.time() - self.since, 0)
        return f"process {self.pid} ({self.purpose}) for {seconds:.0f} s"


@dataclass(frozen=True)
class WriterLock:
    """The lock of one database.

    The kernel frees it when its holder dies. Who holds it stands in a file beside it, for people.

    Attributes:
        database: path of the database file.
        wait_seconds: the longest wait.
    """

    database: Path
    wait_seconds: float

    @contextmanager
    def held(self, purpose: str, log: logging.Logger) -> Iterator[None]:
        """Hold the lock for the block, telling others the purpose.

        Raises:
            WarehouseBusyError: another run held it for longer than the longest wait.
        """
        lock = FileLock(self._beside("lock"))
        self._acquire(lock, purpose, log)
        try:
            self._tell(purpose)
            try:
                yield
            finally:
                self._beside("writer.json").unlink(missing_ok=True)
        finally:
            lock.release()

    @property
    def holder(self) -> LockHolder | None:
        """Who holds it, as far as that is told; None also where its holder was killed."""
        turn = LockHolder.read_from(self._beside("writer.json"))
        return turn if turn and _is_alive(turn) else None

    @property
    def waiting(self) -> list[LockHolder]:
        """Who waits for it, the longest first; the marks of the dead are cleared away."""
        folder = self._beside("waiting")
        for _ in claim_stale_marks(folder, _MARKS):
            pass
        turns = (LockHolder.read_from(mark) for mark in live_marks(folder, _MARKS))
        return sorted((turn for turn in turns if turn), key=lambda turn: turn.since)

    def _beside(self, suffix: str) -> Path:
        return self.database.with_name(f"{self.database.name}.{suffix}")

    def _acquire(self, lock: FileLock, purpose: str, log: logging.Logger) -> None:
        turn = LockHolder.of_this_process(purpose)
        started = time.monotonic()
        soon = min(_SHOWN_AFTER_SECONDS, _REPORT_SECONDS, self.wait_seconds)
        if _acquired(lock, soon):
            return
        with self._shown_as_waiting(turn):
            while not _acquired(lock, self._seconds_to_next_report(started)):
                waited = time.monotonic() - started
                holder = LockHolder.read_from(self._beside("writer.json")) or "another run"
                if waited >= self.wait_seconds:
                    msg = (
                        f"Gave up after waiting {waited:.0f} s for the writer lock, held by "
                        f"{holder} (setting LFP_WRITER_WAIT_SECONDS)."
                    )
                    raise WarehouseBusyError(msg)
                log.info("Waiting for the writer lock for %.0f s; held by %s", waited, holder)

    @contextmanager
    def _shown_as_waiting(self, turn: LockHolder) -> Iterator[None]:
        with ExitStack() as marks:
            if self.wait_seconds:
                with suppress(OSError):  # On a full disk, one waits untold.
                    name = f"{uuid4().hex}.json"
                    turn.write_to(marks.enter_context(hold_mark(self._beside("waiting") / name)))
            yield

    def _seconds_to_next_report(self, started: float) -> float:
        left = self.wait_seconds - (time.monotonic() - started)
        return max(0.0, min(_REPORT_SECONDS, left))

    def _tell(self, purpose: str) -> None:
        note = self._beside("writer.json")
        temporary = note.with_suffix(".part")
        try:
            LockHolder.of_this_process(purpose).write_to(temporary)
            temporary.replace(note)
        except OSError:  # On a full disk, one can still read; and the lock holds untold.
            temporary.unlink(missing_ok=True)


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds, poll_interval=0.02)
    except Timeout:
        return False
    return True


def _is_alive(turn: LockHolder) -> bool:
    """Whether a process is there, as far as this machine knows."""
    if turn.host != socket.gethostname():
        return True
    try:
        os.kill(turn.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
