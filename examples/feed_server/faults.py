"""Faults of reads, to test clients."""

import time
from threading import Semaphore

_CHUNK_BYTES = 1 << 16


class Faults:
    """Makes reads break or slow.

    Args:
        cut_after: bytes after which the connection breaks.
        cuts: the number of reads that break, from the first on.
        bytes_per_second: the speed of each read; None: no limit.
    """

    def __init__(self, cut_after: int, cuts: int, bytes_per_second: int | None) -> None:
        self.cut_after = cut_after
        self._remaining_cuts = Semaphore(cuts)
        self._bytes_per_second = bytes_per_second
        portion = bytes_per_second // 10 + 1 if bytes_per_second else _CHUNK_BYTES
        self.chunk_bytes = min(portion, _CHUNK_BYTES)

    def breaks_now(self) -> bool:
        """Whether this read breaks."""
        return self._remaining_cuts.acquire(blocking=False)

    def pause(self, chunk: bytes) -> None:
        """Wait as long as sending the chunk should take."""
        if self._bytes_per_second:
            time.sleep(len(chunk) / self._bytes_per_second)
