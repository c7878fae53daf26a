"""One writer at a time: a lock beside the database that tells who holds it."""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lfp_pipeline.errors import WarehouseBusyError

_REPORT_SECONDS = 5.0


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
        lock = FileLock(self.database.with_name(self.database.name + ".lock"))
        self._acquire(lock, log)
        try:
            self._tell(purpose)
            try:
                yield
            finally:
                self._holder_path.unlink(missing_ok=True)
        finally:
            lock.release()

    @property
    def _holder_path(self) -> Path:
        return self.database.with_name(self.database.name + ".writer.json")

    def _acquire(self, lock: FileLock, log: logging.Logger) -> None:
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            left = self.wait_seconds - waited
            try:
                lock.acquire(timeout=max(0.0, min(_REPORT_SECONDS, left)), poll_interval=0.02)
            except Timeout:
                waited = time.monotonic() - started
                holder = self._holder()
                if waited >= self.wait_seconds:
                    msg = (
                        f"Gave up after waiting {waited:.0f} s for the writer lock, held by "
                        f"{holder} (setting LFP_WRITER_WAIT_SECONDS). Nothing was written."
                    )
                    raise WarehouseBusyError(msg) from None
                log.info("Waiting for the writer lock for %.0f s; held by %s", waited, holder)
            else:
                return

    def _tell(self, purpose: str) -> None:
        content = {
            "purpose": purpose,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.time(),
        }
        temporary = self._holder_path.with_suffix(".part")
        temporary.write_text(json.dumps(content))
        temporary.replace(self._holder_path)

    def _holder(self) -> str:
        try:
            holder = json.loads(self._holder_path.read_text())
            seconds = max(time.time() - holder["since"], 0)
            return f"process {holder['pid']} ({holder['purpose']}) for {seconds:.0f} s"
        except (OSError, ValueError, KeyError, TypeError):
            return "another run"
