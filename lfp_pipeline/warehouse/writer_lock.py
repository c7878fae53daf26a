"""The writer lock: one writer at a time, with its holder and the waiting processes.

`file_lock` implements the protocol for a database in a file, `catalog_lock` for a lake.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self

from lfp_pipeline.common.progress import Progress, announce
from lfp_pipeline.errors import WarehouseBusyError

_REPORT_SECONDS = 5.0
_SHOWN_AFTER_SECONDS = 1.0


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

    def __str__(self) -> str:
        seconds = max(time.time() - self.since, 0)
        host = f" on {self.host}" if self.host != socket.gethostname() else ""
        return f"process {self.pid}{host} ({self.purpose}) for {seconds:.0f} s"


class WriterLock(Protocol):
    """The lock of one database.

    Attributes:
        wait_seconds: the longest wait.
    """

    wait_seconds: float

    def held(self, purpose: str, log: logging.Logger) -> AbstractContextManager[object]:
        """Hold the lock for the block, and show the purpose to other processes.

        Raises:
            WarehouseBusyError: another run held the lock for longer than the longest wait.
        """

    @property
    def holder(self) -> LockHolder | None:
        """The holder, as far as that is known."""

    @property
    def waiting(self) -> list[LockHolder]:
        """The waiting processes, the longest first."""


def wait_for_lock(
    acquired: Callable[[float], bool],
    noted_holder: Callable[[], LockHolder | None],
    shown_as_waiting: Callable[[], AbstractContextManager[None]],
    wait_seconds: float,
    log: logging.Logger,
) -> None:
    """Wait until a lock is acquired, and log its holder meanwhile.

    Args:
        acquired: try for some seconds, and return whether the lock is acquired.
        noted_holder: return the holder by its note.
        shown_as_waiting: show other processes that this one waits, for a block.

    Raises:
        WarehouseBusyError: another run held the lock for longer than `wait_seconds`.
    """
    started = time.monotonic()
    if acquired(min(_SHOWN_AFTER_SECONDS, _REPORT_SECONDS, wait_seconds)):
        return
    with shown_as_waiting():
        while not acquired(_seconds_to_next_report(started, wait_seconds)):
            waited = time.monotonic() - started
            holder = noted_holder() or "another run"
            if waited >= wait_seconds:
                msg = (
                    f"Gave up after waiting {waited:.0f} s for the writer lock, held by "
                    f"{holder} (setting LFP_WRITER_WAIT_SECONDS)."
                )
                raise WarehouseBusyError(msg)
            announce(Progress(f"the writer lock, held by {holder}", "waiting for"))
            log.info("Waiting for the writer lock for %.0f s; held by %s", waited, holder)


def _seconds_to_next_report(started: float, wait_seconds: float) -> float:
    remaining = wait_seconds - (time.monotonic() - started)
    return max(0.0, min(_REPORT_SECONDS, remaining))
