"""The console logger of the jobs: one line per event, and failures without tracebacks.

The event log of the run in the UI has the traceback.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from lfp_pipeline.common.text import shortened, visible
from lfp_pipeline.dagster_support.failures import failure_reason, not_merged

SHORT_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}
"""Run configuration of a job whose console shows one line an event."""


_ERROR_CHARACTERS = 300

_taken_by: list[logging.Handler] = []


@contextmanager
def console_taken_by(handler: logging.Handler) -> Iterator[None]:
    """Have runs in this process log to a handler for the block, instead of the terminal."""
    _taken_by.append(handler)
    try:
        yield
    finally:
        _taken_by.remove(handler)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta: Any = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        level, text = record.levelname, meta.get("orig_message") or record.getMessage()
        if event is not None:
            level, text = _event_level_and_text(event, level, text)
        time = self.formatTime(record, "%H:%M:%S")
        step = f"{meta['step_key']}: " if meta.get("step_key") else ""
        return visible(f"{time} {level:<7} {step}{text}")


def _event_level_and_text(
    event: Any,  # noqa: ANN401 (DagsterEvent is not public)
    level: str,
    text: str,
) -> tuple[str, str]:
    """Return the level and the message of an event; for the failure of a run, with the reason.

    That of files that are not merged is no alarm: the reason of each is logged already.
    """
    failed_step = getattr(event.event_specific_data, "first_step_failure_event", None)
    why = failure_reason(failed_step or event)
    if failed_step and not_merged(failed_step):
        return "INFO", f"{(why or '').partition(chr(10))[0]} The reasons are above."
    message: str = event.message or text
    return level, f"{message} {why}" if why else message


def _adds_something(record: logging.LogRecord) -> bool:
    """Return whether a record says more than the failure of the run, which follows with its reason.

    The failure of a step does not, nor does that of a step that needs this one.
    """
    meta: Any = getattr(record, "dagster_meta", None) or {}
    event = meta.get("dagster_event")
    if event is not None:
        return not event.is_step_failure
    text = meta.get("orig_message") or record.getMessage()
    return not text.startswith("Dependencies for step ")


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="One line per event.",
)
def short_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger that the jobs use by default."""
    return _console_logger(context.logger_config["log_level"])


def _console_logger(level: str | int) -> logging.Logger:
    # One logger for each run and tick, outside the tree that `getLogger` shares.
    logger = logging.Logger("lfp_pipeline", level)  # noqa: LOG001
    handler = _taken_by[-1] if _taken_by else logging.StreamHandler()
    if handler.formatter is None:
        handler.setFormatter(_OneLine())
    logger.addFilter(_adds_something)
    logger.addHandler(handler)
    return logger


def use_short_console() -> None:
    """Use the short console in runs of this process whose configuration names no logger.

    Dagster takes that default from a module. The configuration of a job with partitions cannot set
    it, because a configuration that is given replaces the one of the job. Ticks print warnings
    only; the UI has their other lines.
    """
    # The imports are slow where only the settings are read.
    from dagster._core.definitions import instigation_logger  # noqa: PLC0415
    from dagster._core.execution import context_creation_job  # noqa: PLC0415

    ticks: Any = instigation_logger
    ticks.create_console_logger = lambda _name, _level: _console_logger(logging.WARNING)

    default: Any = context_creation_job
    default.default_system_loggers = lambda _instance: [(short_console, {"log_level": "INFO"})]


def shorten_config_errors() -> None:
    """Print an invalid run configuration without a traceback, if it ends this process."""

    def print_exception(kind: type[BaseException], error: BaseException, trace: Any) -> None:  # noqa: ANN401
        if isinstance(error, dg.DagsterInvalidConfigError):
            for problem in error.errors:
                sys.stderr.write(f"{shortened(visible(problem.message), _ERROR_CHARACTERS)}\n")
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = print_exception
