"""Progress of long work in a log: soon enough to reassure, seldom enough to read."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lfp_pipeline.common.text import format_size

INTERVAL_SECONDS = 10.0


class TransferProgress:
    """Logs a transfer's bytes, percent and rate every few seconds."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Tell how many bytes have come, and how many are expected, where that is known."""
        now = time.monotonic()
        if now - self._logged < INTERVAL_SECONDS:
            return
        self._logged = now
        share = f" of {format_size(total)} ({done / total:.0%})" if total else ""
        rate = format_size(done / (now - self._started))
        self._log.info("%s: %s%s, %s/s", self._what, format_size(done), share, rate)


@contextmanager
def heartbeat(log: logging.Logger, message: Callable[[float], str]) -> Iterator[None]:
    """While the block runs, log `message(seconds so far)` every few seconds."""
    finished = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not finished.wait(INTERVAL_SECONDS):
            log.info(message(time.monotonic() - started))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
