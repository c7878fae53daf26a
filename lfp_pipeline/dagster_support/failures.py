"""How runs fail: plainly; and what they did not come to try is no failed attempt."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from lfp_pipeline.dagster_support.results import result_line
from lfp_pipeline.errors import LfpError, WarehouseBusyError, hint_for, user_message
from lfp_pipeline.ingest.result import IngestResult, LandingFailure

BUSY_TAG = "lfp/database_busy"
NOT_TRIED_TAG = "lfp/not_tried"

SHOWN_FAILURES = 20

NOT_MERGED = "files_not_merged"
"""The metadata key of a failed step for the partitions whose deliveries are not merged."""


@contextmanager
def user_facing_failures(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Make an error that people can do something about the failure of the run, as it is told them.

    Where the warehouse was busy, let the sensor know that it was that.
    """
    try:
        yield
    except dg.Failure:  # It is told already.
        raise
    except Exception as error:
        if isinstance(error, WarehouseBusyError):
            tag_database_busy(context)
        if isinstance(error, LfpError) or hint_for(error):
            raise dg.Failure(user_message(error), allow_retries=False) from None
        raise


def tag_database_busy(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    """Note that the run in hand could not have the database."""
    context.instance.add_run_tags(context.run.run_id, {BUSY_TAG: "true"})


def tag_not_tried(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, keys: Collection[str]
) -> None:
    """Note which of its partitions the run in hand leaves alone: their files are being written."""
    if keys:
        context.instance.add_run_tags(context.run.run_id, {NOT_TRIED_TAG: ",".join(sorted(keys))})


def run_failure(outcomes: Sequence[IngestResult | LandingFailure]) -> dg.Failure:
    """The end of a run in which these deliveries were not merged.

    Nothing tries them again but the sensor: up to its limit, and a refused file not at all.
    """
    lines = [result_line(outcome) for outcome in outcomes[:SHOWN_FAILURES]]
    files = "1 file is" if len(outcomes) == 1 else f"{len(outcomes)} files are"
    if left := len(outcomes) - len(lines):
        lines.append(f"And {left} more; the log above and the table deliveries list each.")
    return dg.Failure(
        description=f"{files} not merged.\n" + "\n".join(lines),
        metadata={
            "not_merged": dg.MetadataValue.json(lines),  # Not as Markdown: they quote files.
            NOT_MERGED: sorted({outcome.partition_key for outcome in outcomes}),
        },
        allow_retries=False,
    )


def failure_reason(event: Any) -> str | None:  # noqa: ANN401 (DagsterEvent is not public)
    """Why a step or a run failed, for people; None: the event is of no failure."""
    data = event.event_specific_data
    error = getattr(data, "error", None)
    if error is None:
        return None
    told = getattr(data, "user_failure_data", None)
    # Around an error that our code did not foresee, Dagster puts one that only names the op.
    why: str = told.description if told else (error.cause or error).message.strip()
    return why
