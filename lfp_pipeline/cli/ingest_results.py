"""Prints the results of an ingest: a table or JSON on stdout, and the errors on stderr."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lfp_pipeline.cli.ingest_run import Outcome
from lfp_pipeline.cli.layout import print_table
from lfp_pipeline.cli.output import BUSY, FAILED, REFUSED, first_lines, print_json, say
from lfp_pipeline.cli.run_job import JobRun
from lfp_pipeline.common.text import visible
from lfp_pipeline.dagster_support.results import name_of
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.ledger_entry import APPLIED, FATES, RowCounts, Status


def print_outcomes(outcomes: Sequence[Outcome], run: JobRun | None, *, as_json: bool) -> None:
    """Print the result of each file; as text, only if one has landed: the errors say the rest."""
    rows = [_row(outcome, run) for outcome in outcomes]
    if as_json:
        print_json({"files": rows})
    elif any(isinstance(outcome, IngestResult) for outcome in outcomes):
        print_rows(rows)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each file, with the fates that any of their rows has met."""
    if not rows:
        return
    counts = [row["rows"] or {} for row in rows]
    fates = [fate for fate in FATES if any(numbers.get(fate) for numbers in counts)]
    table = [
        [
            row["file"],
            row["status"],
            *(numbers.get(column) for column in ("read", *fates)),
            row["seconds"],
        ]
        for row, numbers in zip(rows, counts, strict=True)
    ]
    print_table(["file", "status", "read", *fates, "seconds"], table, names=["file"])


def _row(outcome: Outcome, run: JobRun | None) -> dict[str, Any]:
    counts = outcome.account.rows if isinstance(outcome, IngestResult) else None
    row: dict[str, Any] = {
        "file": name_of(outcome),
        "status": "not landed",
        "rows": row_counts(counts),
        "error": None,
        "seconds": None,
        "delivery_id": None,
        "run_id": run.run_id if run else None,
    }
    if isinstance(outcome, LandingFailure):
        return row | {"error": outcome.error}
    row |= {
        "status": str(outcome.account.status),
        "error": outcome.account.error,
        "seconds": round(outcome.seconds, 2) if outcome.seconds else None,
        "delivery_id": outcome.delivery.delivery_id,
    }
    is_new = outcome.merged_here or outcome.account.status not in APPLIED
    return row if is_new else row | applied_before(outcome.account.status)


def applied_before(status: Status) -> dict[str, Any]:
    """Return what to show of a delivery that an earlier ingest has merged or reverted."""
    return {"status": f"already {status}", "rows": None, "seconds": None}


def row_counts(counts: RowCounts | None) -> dict[str, int]:
    """Return counts of rows by name; without counts, zeros."""
    return asdict(counts or RowCounts())


def exit_with(outcomes: Sequence[Outcome], run: JobRun | None) -> None:
    """Print the errors, and exit with the code of the worst result."""
    bad = [outcome for outcome in outcomes if not _is_ok(outcome)]
    for outcome in bad:
        error = outcome.error if isinstance(outcome, LandingFailure) else outcome.account.error
        say(first_lines(f"{name_of(outcome)}: {visible(error or '')}", 2))
    if run:
        run.exit_if_failed(_code(bad) if bad and run.is_of_files else None)
    if bad:
        raise SystemExit(_code(bad))


def _is_ok(outcome: Outcome) -> bool:
    return isinstance(outcome, IngestResult) and outcome.account.status in APPLIED


def _code(bad: Sequence[Outcome]) -> int:
    if any(isinstance(outcome, IngestResult) and outcome.busy for outcome in bad):
        return BUSY
    refused = [
        isinstance(outcome, IngestResult) and outcome.account.status is Status.REFUSED
        for outcome in bad
    ]
    return REFUSED if all(refused) else FAILED
