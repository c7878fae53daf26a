"""Progress of long work: messages in the log, and events for a listener in the same process.

Code announces events: the progress of its steps, results, and errors that end a run. A command
listens for them, to draw a progress bar and to print results. Without a listener, an announcement
costs one look at an empty list.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lfp_pipeline.common.text import format_size

INTERVAL_SECONDS = 10.0
"""Time between two messages in the log."""

FRAME_SECONDS = 0.2
"""Time between two measurements for a listener."""

Listener = Callable[[object], None]

_listeners: list[Listener] = []


@dataclass(frozen=True)
class Progress:
    """The progress of a step of work.

    Attributes:
        subject: the object of the work, such as a partition key.
        step: the step, such as `landing`.
        done: bytes so far.
        total: bytes in all; None: unknown.
        rows: rows of the subject, once they are counted.
    """

    subject: str
    step: str
    done: int = 0
    total: int | None = None
    rows: int | None = None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call a listener with each event that this process announces in the block, in any thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(event: object) -> None:
    """Pass an event to the listeners of this process."""
    for listener in tuple(_listeners):
        listener(event)


class TransferProgress:
    """Progress callback that logs and announces the bytes of a transfer."""

    def __init__(
        self, log: logging.Logger, title: str, subject: str = "", step: str = "landing"
    ) -> None:
        self._log = log
        self._title = title
        self._subject = subject
        self._step = step
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Report the bytes so far, and the bytes in all where they are known."""
        if _listeners:
            announce(Progress(self._subject, self._step, done, total))
        now = time.monotonic()
        if now - self._logged < INTERVAL_SECONDS:
            return
        self._logged = now
        of_total = f" of {format_size(total)} ({done / total:.0%})" if total else ""
        rate = format_size(done / (now - self._started))
        self._log.info("%s: %s%s, %s/s", self._title, format_size(done), of_total, rate)


@contextmanager
def heartbeat(
    log: logging.Logger,
    message: Callable[[float], str],
    measure: Callable[[], Progress] | None = None,
) -> Iterator[None]:
    """Log `message(seconds so far)` every few seconds while the block runs.

    If a listener is there when the block begins, announce what `measure` returns much more often.
    """
    finished = threading.Event()
    started = time.monotonic()

    def beat() -> None:
        while not finished.wait(INTERVAL_SECONDS):
            log.info(message(time.monotonic() - started))

    def draw(measure: Callable[[], Progress]) -> None:
        announce(measure())
        while not finished.wait(FRAME_SECONDS):
            announce(measure())

    threads = [threading.Thread(target=beat, daemon=True)]
    if measure and _listeners:
        threads.append(threading.Thread(target=draw, args=[measure], daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        finished.set()
        for thread in threads:
            thread.join()
