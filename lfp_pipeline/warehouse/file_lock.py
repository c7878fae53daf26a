"""The writer lock of a database in a file: a locked file that the kernel frees.

products.duckdb.lock           the lock
products.duckdb.writer.json    its holder
products.duckdb.waiting/       a mark of each process that has waited for more than a second
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark, live_marks
from lfp_pipeline.warehouse.writer_lock import LockHolder, WriterLock, wait_for_lock

_MARKS = "*.json"


@dataclass(frozen=True)
class FileWriterLock(WriterLock):
    """The lock of one database file.

    The kernel frees the lock when its holder dies. A file beside it names the holder, for people.

    Attributes:
        database: path of the database file.
        wait_seconds: the longest wait.
    """

    database: Path
    wait_seconds: float

    @contextmanager
    def held(self, purpose: str, log: logging.Logger) -> Iterator[None]:
        """Hold the lock for the block, and show the purpose to other processes."""
        lock = FileLock(self._beside("lock"))
        waiter = LockHolder.of_this_process(purpose)
        wait_for_lock(
            partial(_acquired, lock),
            lambda: _read_note(self._beside("writer.json")),
            partial(self._shown_as_waiting, waiter),
            self.wait_seconds,
            log,
        )
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
        holder = _read_note(self._beside("writer.json"))
        return holder if holder and _is_alive(holder) else None

    @property
    def waiting(self) -> list[LockHolder]:
        """The waiting processes, the longest first; marks of dead processes are removed."""
        folder = self._beside("waiting")
        for _ in claim_stale_marks(folder, _MARKS):
            pass
        waiting = (_read_note(mark) for mark in live_marks(folder, _MARKS))
        return sorted(filter(None, waiting), key=lambda process: process.since)

    def _beside(self, suffix: str) -> Path:
        return self.database.with_name(f"{self.database.name}.{suffix}")

    @contextmanager
    def _shown_as_waiting(self, waiter: LockHolder) -> Iterator[None]:
        with ExitStack() as marks:
            if self.wait_seconds:
                with suppress(OSError):  # On a full disk, the wait is not shown.
                    mark = self._beside("waiting") / f"{uuid4().hex}.json"
                    _write_note(marks.enter_context(hold_mark(mark)), waiter)
            yield

    def _write_holder(self, purpose: str) -> None:
        note = self._beside("writer.json")
        temporary = note.with_suffix(".part")
        try:
            _write_note(temporary, LockHolder.of_this_process(purpose))
            temporary.replace(note)
        except OSError:  # On a full disk, reading still works; the holder is not shown.
            temporary.unlink(missing_ok=True)


def _read_note(path: Path) -> LockHolder | None:
    """Return the process that a note names; None: the note is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        note = json.loads(path.read_bytes())
        return LockHolder(
            str(note["purpose"]), int(note["pid"]), note["host"], float(note["since"])
        )
    return None


def _write_note(path: Path, process: LockHolder) -> None:
    path.write_text(json.dumps(asdict(process)))


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
