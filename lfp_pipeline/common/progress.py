"""Log messages on the progress of long work, every few seconds."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lfp_pipeline.common.text import format_size

INTERVAL_SECONDS = 10.0


class TransferProgress:
    """Progress callback that logs the bytes, percentage and rate of a transfer."""

    def __init__(self, log: logging.Logger, title: str) -> None:
        self._log = log
        self._title = title
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Report the bytes so far, and the bytes in all where they are known."""
        now = time.monotonic()
        if now - self._logged < INTERVAL_SECONDS:
            return
        self._logged = now
        of_total = f" of {format_size(total)} ({done / total:.0%})" if total else ""
        rate = format_size(done / (now - self._started))
        self._log.info("%s: %s%s, %s/s", self._title, format_size(done), of_total, rate)


@contextmanager
def heartbeat(log: logging.Logger, message: Callable[[float], str]) -> Iterator[None]:
    """Log `message(seconds so far)` every few seconds while the block runs."""
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
