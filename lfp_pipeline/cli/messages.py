"""The log of a command: its messages go to stderr, one line each, without times and levels."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lfp_pipeline.cli.output import say


class MessageHandler(logging.Handler):
    """Prints messages, but no events of Dagster.

    Attributes:
        hidden: messages that are not printed, because the command prints them as its data.
    """

    def __init__(self, level: int = logging.INFO, write: Callable[[str], None] = say) -> None:
        super().__init__(level)
        self.hidden: set[str] = set()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        from lfp_pipeline.common.text import visible

        meta: Any = getattr(record, "dagster_meta", None) or {}
        message = meta.get("orig_message") or record.getMessage()
        if meta.get("dagster_event") is None and message not in self.hidden:
            with suppress(OSError):  # Nobody reads it any more. It must not end the run.
                self._write(visible(message))


def message_log(handler: MessageHandler | None = None) -> logging.Logger:
    """Return a logger whose messages go to stderr."""
    log = logging.Logger("lfp", logging.INFO)  # noqa: LOG001 (outside the tree of `getLogger`)
    log.addHandler(handler or MessageHandler())
    return log
