"""Copies of objects of a bucket in a folder of this machine, which several processes share.

    <partition key>/<delivered_at>-<sha256, 16 digits>.raw

A copy gets its name after its bytes are verified. While a process reads a copy, it holds a lock on
it. Without one, a copy is removed when it is the one that was unused for longest, and all together
are too large.
"""

import fcntl
import os
import time
from contextlib import ExitStack, suppress
from io import BufferedReader
from pathlib import Path

from lfp_pipeline.model.delivery import Delivery, RawName

_LIMIT_BYTES = 20 * 2**30
_LOOK_SECONDS = 600.0
_MAX_UNUSED_NS = 7 * 86_400 * 10**9


class LocalCopies:
    """Copies of raw files, in a folder of limited size."""

    def __init__(self, folder: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._new_bytes = 0
        self._look_at = 0.0

    def path(self, name: RawName) -> Path:
        """Return the copy of a raw file, which need not exist."""
        return self.folder / name.key / f"{name.stem}.raw"

    def hold(self, name: RawName, held: ExitStack) -> BufferedReader | None:
        """Open a copy, and keep other processes from removing it; None: there is none.

        Raises:
            OSError: the copy belongs to another user.
        """
        path = self.path(name)
        try:
            file = held.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_SH)
            os.utime(path)
        except FileNotFoundError:
            return None
        return file if os.fstat(file.fileno()).st_nlink else None

    def make_room(self, new: Delivery, *, coming_bytes: int) -> None:
        """Remove old copies, and those that were unused for longest, until there is space.

        Looking at all copies takes its time, so that is done now and then.

        Args:
            new: the delivery whose copy is made.
            coming_bytes: what is still to be written of that copy.
        """
        self._new_bytes += new.size_bytes
        if self._new_bytes < self._limit_bytes // 100 and time.monotonic() < self._look_at:
            return
        self._new_bytes, self._look_at = 0, time.monotonic() + _LOOK_SECONDS
        copies = []
        for path in self.folder.glob("*/*.raw"):
            with suppress(FileNotFoundError):  # Another process has removed it.
                status = path.stat()
                copies.append((status.st_mtime_ns, status.st_size, path))
        total = coming_bytes + sum(size for _, size, _ in copies)
        for used_ns, size, path in sorted(copies):
            is_old = time.time_ns() - used_ns > _MAX_UNUSED_NS
            if total <= self._limit_bytes and not is_old:
                return
            if path != self.path(new.raw_name) and _remove_unused(path):
                total -= size


def _remove_unused(path: Path) -> bool:
    """Remove a copy that no process holds; return whether it is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
    return True
