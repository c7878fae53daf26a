"""Pauses between attempts that grow with each failure in a row."""

import random
import time
from dataclasses import dataclass

_MAX_DOUBLINGS = 64
"""A source may fail for weeks, and powers of two overflow."""


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff.

    Attributes:
        base: pause after the first failure, in seconds. Each further failure doubles the pause.
        limit: longest pause, in seconds.
        jitter: upper bound of the random seconds that are added to a pause.
    """

    base: float
    limit: float
    jitter: float = 0.0

    def delay(self, failures: int) -> float:
        """Return the pause after so many failures in a row, in seconds; 0 after none."""
        if not failures:
            return 0.0
        pause = self.base * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return min(pause + random.uniform(0, self.jitter), self.limit)  # noqa: S311 (no secret)


def is_backing_off(since: float, delay: float) -> bool:
    """Return whether a pause that began at a time still lasts.

    A pause that begins in the future is over: the clock has stepped back since it was noted, and
    would have to catch up before the next attempt.

    Args:
        since: the begin of the pause, in seconds since the epoch.
        delay: its length, in seconds.
    """
    return 0 <= time.time() - since < delay
