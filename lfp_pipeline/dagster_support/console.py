"""The console logger of the jobs: one line per event, and failures without tracebacks.

The event log of the run in the UI has the traceback.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from lfp_pipeline.common.text import visible
from lfp_pipeline.dagster_support.failures import failure_reason

SHORT_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}
"""Run configuration of a job whose console shows one line an event."""


_taken_by: list[logging.Handler] = []


@contextmanager
def console_taken_by(handler: logging.Handler) -> Iterator[None]:
    """Have runs in this process log to a handler for the block, instead of the terminal."""
    _taken_by.append(handler)
    try:
        yield
    finally:
        _taken_by.remove(handler)


def accepting_former_op(op_name: str, former_op: str, schema: object) -> dg.ConfigMapping:
    """Return `SHORT_CONSOLE` for a job whose op may have its former name in a run configuration."""
    shape: Any = dg.Shape  # It has no type hints.
    ops = shape({op_name: dg.Field({"config": schema})}, field_aliases={op_name: former_op})
    fields = {
        "ops": dg.Field(ops),
        "loggers": dg.Field(dict, default_value=SHORT_CONSOLE["loggers"]),
        "execution": dg.Field(dict, is_required=False),
        "resources": dg.Field(dict, is_required=False),
    }
    return dg.ConfigMapping(lambda given: given, fields, receive_processed_config_values=False)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta: Any = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        text = meta.get("orig_message") or record.getMessage()
        if event is not None:
            text = _event_text(event, text)
        time = self.formatTime(record, "%H:%M:%S")
        step = f"{meta['step_key']}: " if meta.get("step_key") else ""
        return visible(f"{time} {record.levelname:<7} {step}{text}")


def _event_text(event: Any, text: str) -> str:  # noqa: ANN401 (DagsterEvent is not public)
    """Return the message of an event; for the failure of a run, with the reason.

    The failure of a step is without: if Dagster captures the output of steps, it may lose the end.
    """
    message: str = event.message or text
    if event.is_step_failure:
        return message
    failed_step = getattr(event.event_specific_data, "first_step_failure_event", None)
    why = failure_reason(failed_step or event)
    return f"{message} {why}" if why else message


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="One line per event.",
)
def short_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger that the jobs use by default."""
    # One logger per run, outside the tree that `getLogger` shares.
    logger = logging.Logger("lfp_pipeline", context.logger_config["log_level"])  # noqa: LOG001
    handler = _taken_by[-1] if _taken_by else logging.StreamHandler()
    if handler.formatter is None:
        handler.setFormatter(_OneLine())
    logger.addHandler(handler)
    return logger
