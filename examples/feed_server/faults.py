"""What goes wrong with reads, on purpose."""

import time
from threading import Semaphore

_CHUNK_BYTES = 1 << 16


class Faults:
    """Reads that break, or are slow, to see how a client takes it.

    Args:
        cut_after: bytes after which the connection breaks.
        cuts: how many reads break, the first ones.
        bytes_per_second: of each read; None: as fast as can be.
    """

    def __init__(self, cut_after: int, cuts: int, bytes_per_second: int | None) -> None:
        self.cut_after = cut_after
        self._cuts_left = Semaphore(cuts)
        self._bytes_per_second = bytes_per_second
        portion = bytes_per_second // 10 + 1 if bytes_per_second else _CHUNK_BYTES
        self.chunk_bytes = min(portion, _CHUNK_BYTES)

    def breaks_now(self) -> bool:
        """Whether this read is one of those that break."""
        return self._cuts_left.acquire(blocking=False)

    def pause(self, chunk: bytes) -> None:
        """Wait for as long as sending it should have taken."""
        if self._bytes_per_second:
            time.sleep(len(chunk) / self._bytes_per_second)
