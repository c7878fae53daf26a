"""A download over several attempts; each attempt continues where the one before stopped."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits, Fetched, OnProgress, Sink
from lfp_pipeline.sources.retry import with_retries


@dataclass(frozen=True)
class Part:
    """The bytes of a file from an offset to its end.

    Attributes:
        offset: the requested offset, or 0 where the file has to be read from its start.
        size: bytes of the whole file; None: unknown.
        chunks: the bytes, to be iterated once.
    """

    offset: int
    size: int | None
    chunks: Iterator[bytes]
    fetched: Fetched


@dataclass
class Transfer(ABC):
    """A download into a sink. Sources differ in `read` only."""

    name: str
    limits: DownloadLimits
    sink: Sink
    on_progress: OnProgress
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.limits.seconds

    @abstractmethod
    def read(self, offset: int) -> AbstractContextManager[Part]:
        """Open the file for the block, from an offset if its version is still the same.

        Raises:
            LandingError: the file cannot be read, or changed within the block.
        """

    def run(self) -> Fetched:
        """Download the file, and return its metadata.

        Raises:
            LandingError: the last attempt failed.
        """
        return with_retries(self._attempt, self.limits)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of all attempts; always more than 0.

        Raises:
            LandingError: the deadline has passed.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            msg = (
                f"{self.name} took longer than {self.limits.seconds:,g} s "
                "(setting LFP_DOWNLOAD_TIMEOUT_SECONDS)."
            )
            raise LandingError(msg, permanent=True)
        return remaining

    def _attempt(self) -> Fetched:
        with self.read(self.done) as part:
            if not part.offset:
                self.sink.restart()
                self.done = 0
            self._check_size(part.size or 0)
            for chunk in part.chunks:
                self.sink.write(chunk)
                self.done += len(chunk)
                self._check_size(self.done)
                self.seconds_left()
                self.on_progress(self.done, part.size)
            if part.size is not None and self.done != part.size:
                msg = f"{self.name} ended after {self.done} of {part.size} bytes."
                raise LandingError(msg, permanent=False)
        return part.fetched

    def _check_size(self, size: int) -> None:
        if size > self.limits.max_bytes:
            msg = (
                f"{self.name} is larger than {self.limits.max_bytes:,} bytes "
                "(setting LFP_MAX_DOWNLOAD_BYTES)."
            )
            raise LandingError(msg, permanent=True)
