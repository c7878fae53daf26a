"""The sensor that posts failed runs to a webhook."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import SecretStr

from lfp_pipeline.common.text import preview, visible
from lfp_pipeline.dagster_support.failures import failure_reason, not_merged
from lfp_pipeline.dagster_support.runs import requested_files

NAME = "failure_sensor"

_CHARACTER_LIMIT = 3_000
"""Length limit of an error: chats cut off or refuse longer texts."""

_NO_MARKUP = str.maketrans({"`": "'", "<": "\u2039", ">": "\u203a"})


def build_failure_sensor(url: SecretStr, interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor for a webhook, with its minimum interval."""

    @dg.run_failure_sensor(
        name=NAME,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Without this, the sensor does not see runs started from a command line.
        monitor_all_code_locations=True,
        description="Posts every failed run to the webhook that LFP_WEBHOOK_URL names.",
    )
    def failure_sensor(context: dg.RunFailureSensorContext) -> None:
        # The import is slow, and most projects have no webhook.
        from lfp_pipeline.dagster_support.webhook import WebhookError, post  # noqa: PLC0415

        try:
            post(url.get_secret_value(), _payload(context))
        except WebhookError as error:
            run_id = context.dagster_run.run_id
            context.log.warning("The failure of run %s was not posted. %s", run_id, error)

    return failure_sensor


def _payload(context: dg.RunFailureSensorContext) -> Mapping[str, Any]:
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    ended_at = record.end_time if record else None
    failures = context.get_step_failure_events()
    reasons = [why for event in failures if (why := failure_reason(event))]
    error = "\n".join(reasons) or context.failure_event.message or "The reason is unknown."
    error = visible(error)[:_CHARACTER_LIMIT]
    # If the run did not report which files failed, all requested files are listed.
    files = [key for event in failures for key in not_merged(event)] or sorted(requested_files(run))
    host = socket.gethostname()
    suffix = f" ({preview(files, limit=1)})" if files else ""
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "files": files,
        "error": error,
        "ended_at": ended_at and datetime.fromtimestamp(ended_at, UTC).isoformat(),
        "host": host,
        "text": f"{run.job_name}{suffix} failed on {host}:\n{_for_chats(error)}",
    }


def _for_chats(text: str) -> str:
    """Return a text as a code block, which chats show literally, and which the text cannot end.

    Even in a code block, Slack reads `<...>` as a link or a mention.
    """
    return f"```\n{text.translate(_NO_MARKUP)}\n```"
