"""The sensor that tells a webhook of runs that failed."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import SecretStr

from lfp_pipeline.common.text import preview, visible
from lfp_pipeline.dagster_support.failures import NOT_MERGED, failure_reason
from lfp_pipeline.dagster_support.runs import requested_files

NAME = "failure_sensor"

_MOST_CHARACTERS = 3_000
"""Of an error: chats cut off, or refuse, what is longer."""

_NO_MARKUP = str.maketrans({"`": "'", "<": "\u2039", ">": "\u203a"})


def build_failure_sensor(url: SecretStr, interval_seconds: int) -> dg.SensorDefinition:
    """The sensor, looking that often, for a webhook."""

    @dg.run_failure_sensor(
        name=NAME,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Else it would not see runs that were started from a command line.
        monitor_all_code_locations=True,
        description="Posts every failed run to the webhook that LFP_WEBHOOK_URL names.",
    )
    def failure_sensor(context: dg.RunFailureSensorContext) -> None:
        # It takes long to import, and most projects do without.
        from lfp_pipeline.dagster_support.webhook import WebhookError, post  # noqa: PLC0415

        try:
            post(url.get_secret_value(), _told(context))
        except WebhookError as error:
            run_id = context.dagster_run.run_id
            context.log.warning("The failure of run %s was not posted. %s", run_id, error)

    return failure_sensor


def _told(context: dg.RunFailureSensorContext) -> Mapping[str, Any]:
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    ended_at = record.end_time if record else None
    failures = context.get_step_failure_events()
    reasons = [why for event in failures if (why := failure_reason(event))]
    error = "\n".join(reasons) or context.failure_event.message or "The reason is unknown."
    error = visible(error)[:_MOST_CHARACTERS]
    # Of a run that did not come to tell which of its files failed, all of them.
    files = [key for event in failures for key in _not_in(event)] or sorted(requested_files(run))
    host = socket.gethostname()
    of_files = f" ({preview(files, limit=1)})" if files else ""
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "files": files,
        "error": error,
        "ended_at": ended_at and datetime.fromtimestamp(ended_at, UTC).isoformat(),
        "host": host,
        "text": f"{run.job_name}{of_files} failed on {host}:\n{_for_chats(error)}",
    }


def _for_chats(text: str) -> str:
    """Return a text as chats show it letter for letter: in a block of code that it cannot end.

    In such a block, Slack still takes `<...>` for a link or a mention.
    """
    return f"```\n{text.translate(_NO_MARKUP)}\n```"


def _not_in(failure: dg.DagsterEvent) -> Sequence[str]:
    """The partitions that a failed step says are not in."""
    told = failure.step_failure_data.user_failure_data
    not_in: Any = told.metadata.get(NOT_MERGED) if told else None
    return not_in.value if not_in else []
