"""Failures of runs: their text for users, and the tags that the sensors read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from lfp_pipeline.common.progress import announce
from lfp_pipeline.common.text import visible
from lfp_pipeline.dagster_support.results import result_line
from lfp_pipeline.dagster_support.runs import NOT_TRIED_TAG
from lfp_pipeline.errors import LfpError, WarehouseBusyError, hint_for, user_message
from lfp_pipeline.ingest.result import IngestResult, LandingFailure

BUSY_TAG = "lfp/database_busy"

SHOWN_FAILURES = 20

NOT_MERGED = "files_not_merged"
"""The metadata key of a failed step for the partitions whose deliveries are not merged."""


@contextmanager
def user_facing_failures(
    context: dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext,
) -> Iterator[None]:
    """Turn an error that users can act on into a `dagster.Failure` with a text for users.

    Announce the error, whose class decides the exit code of a command. If another process has the
    database open, tag the run, so that the sensor does not count it as a failed attempt.
    """
    try:
        yield
    except dg.Failure:  # Its text is for users already.
        raise
    except Exception as error:
        if isinstance(error, WarehouseBusyError):
            tag_database_busy(context)
        if isinstance(error, LfpError) or hint_for(error):
            announce(error)
            raise dg.Failure(user_message(error), allow_retries=False) from None
        raise


def tag_database_busy(
    context: dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext,
) -> None:
    """Tag the current run: another process had the database open."""
    context.instance.add_run_tags(context.run.run_id, {BUSY_TAG: "true"})


def tag_not_tried(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, keys: Collection[str]
) -> None:
    """Tag the current run with the partitions that it skipped: their files are being written."""
    if keys:
        context.instance.add_run_tags(context.run.run_id, {NOT_TRIED_TAG: ",".join(sorted(keys))})


def run_failure(outcomes: Sequence[IngestResult | LandingFailure]) -> dg.Failure:
    """Return the failure of a run that did not merge these deliveries.

    Only the sensor retries them: up to its limit, and refused files not at all.
    """
    lines = [result_line(outcome) for outcome in outcomes[:SHOWN_FAILURES]]
    files = "1 file is" if len(outcomes) == 1 else f"{len(outcomes)} files are"
    if remaining := len(outcomes) - len(lines):
        lines.append(f"And {remaining} more; the log above and the table deliveries list each.")
    return dg.Failure(
        description=f"{files} not merged.\n" + "\n".join(lines),
        metadata={
            "not_merged": dg.MetadataValue.json(lines),  # No Markdown: the lines quote files.
            NOT_MERGED: sorted({outcome.partition_key for outcome in outcomes}),
        },
        allow_retries=False,
    )


def log_operation(
    context: dg.OpExecutionContext,
    summary: str,
    figures: Mapping[str, int | float | str],
    problems: Sequence[str],
    *,
    dry_run: bool,
) -> None:
    """Log the report of an operation, and add it to the output; fail the run if it has problems."""
    lines = [visible(summary), *map(visible, problems)]
    metadata: dict[str, Any] = {"summary": lines[0], **figures}
    if problems:
        records = [dg.TableRecord({"problem": problem}) for problem in lines[1:]]
        metadata["all_problems"] = dg.MetadataValue.table(records)
    if problems and not dry_run:
        if (remaining := len(problems) - SHOWN_FAILURES) > 0:
            more = f"And {remaining:,} more; the metadata all_problems lists all of them."
            lines[1 + SHOWN_FAILURES :] = [more]
        raise dg.Failure("\n".join(lines), metadata=metadata, allow_retries=False)
    context.log.info(lines[0])
    for problem in lines[1:]:
        context.log.warning(problem)
    context.add_output_metadata(metadata)


def failure_reason(event: Any) -> str | None:  # noqa: ANN401 (DagsterEvent is not public)
    """Return why a step or a run failed, for users; None: the event is no failure."""
    data = event.event_specific_data
    error = getattr(data, "error", None)
    if error is None:
        return None
    failure = getattr(data, "user_failure_data", None)
    # Dagster wraps an unexpected error in one that only names the op.
    text: str = failure.description if failure else (error.cause or error).message.strip()
    return text


def not_merged(failure: dg.DagsterEvent) -> Sequence[str]:
    """Return the partitions that a failed step reports as not merged."""
    data = failure.step_failure_data.user_failure_data
    partitions: Any = data.metadata.get(NOT_MERGED) if data else None
    return partitions.value if partitions else []
