"""Progress of long work in a log: soon enough to reassure, seldom enough to read."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
        share = f" of {megabytes(total)} ({done / total:.0%})" if total else ""
        rate = megabytes(done / (now - self._started))
        self._log.info("%s: %s%s, %s/s", self._what, megabytes(done), share, rate)


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


def counted(number: int, noun: str) -> str:
    """A number of things for people: `1 row`, `2,000 rows`, `3 deliveries`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def some_of(names: Sequence[str], number: int | None = None, most: int = 5) -> str:
    """Names for people: `a, b and 1,998 more`; what cannot be printed is spelled out.

    Args:
        names: the first ones, or all.
        number: how many there are; None: those that are given.
        most: so many are named.
    """
    shown = [printable(name) for name in names[:most]]
    left = (len(names) if number is None else number) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def printable(text: str) -> str:
    """Return a text on one line; what cannot be printed is spelled out."""
    if text.isprintable():  # As nearly all is.
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def visible(text: str) -> str:
    """Return a text in its lines; what cannot be printed is spelled out.

    So no text of a file or server changes the colours, the title or the lines of a terminal.
    """
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, most: int) -> str:
    """Return at most so many characters of a text; an ellipsis shows that there are more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def megabytes(size: float) -> str:
    """A size for people: `90.1 MB`, and `0.9 KB` for a small one."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} KB"  # noqa: PLR2004
