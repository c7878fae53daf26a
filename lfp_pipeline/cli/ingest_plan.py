"""The dry run of `lfp ingest`: shows what an ingest would do, with samples of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from lfp_pipeline.cli.ingest_results import applied_before, print_rows, row_counts
from lfp_pipeline.cli.ingest_run import find_pending
from lfp_pipeline.cli.ingest_targets import find_targets
from lfp_pipeline.cli.layout import fit
from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.output import FAILED, REFUSED, first_lines, print_json, say
from lfp_pipeline.cli.progress_bar import showing_progress
from lfp_pipeline.common.progress import listening
from lfp_pipeline.common.text import preview, printable, shortened, visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import FATES, Status
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations.plan_ingest import FilePlan, plan_ingest
from lfp_pipeline.sources.base import Source

_VALUE_WIDTH = 50

_WOULD_BE = {Status.MERGED: "would be merged", Status.REFUSED: "would be refused"}


def plan_and_print(
    engine: Engine, texts: Sequence[str], name: str | None, *, as_json: bool
) -> None:
    """Print what an ingest would do, and exit with the code that it would have."""
    with showing_progress(verbose=False) as display, listening(display.listener):
        log = message_log(display.messages)
        targets = find_targets(engine, texts, name, log)
        files: list[tuple[str, Source | Delivery]] = [
            (target.key, target.source) for target in targets
        ]
        names = {target.key: target.name for target in targets}
        requests = engine.backlog.operator_requests(log)
        for pending in () if texts else find_pending(engine, log):
            if pending in requests:
                continue
            if isinstance(pending, Delivery):
                files.append((pending.partition_key, pending))
            else:
                files.append((pending.partition_key, engine.catalog.inbox_source(pending)))
                names[pending.partition_key] = pending.name
        plans = plan_ingest(engine, files, log)
    if requests:
        labels = preview([request.label for request in requests])
        say(f"Pending purges and reversals come first, and are not counted here: {labels}.")
    rows = [_row(plan, names) for plan in plans]
    if as_json:
        print_json({"files": rows})
    elif not rows:
        say(f"Nothing to do: every complete file in {engine.settings.inbox_place} is ingested.")
    else:
        print_rows(rows)
        for row in rows:
            _print_samples(row)
    if same := [_name(plan, names) for plan in plans if plan.entry and not plan.is_new]:
        say(f"Merged or reverted already, so nothing would change: {preview(same)}.")
    _exit(plans, names)


def _row(plan: FilePlan, names: Mapping[str, str]) -> dict[str, Any]:
    entry = plan.entry
    status = "not planned: polled" if plan.is_polled else "would fail"
    if entry is not None and plan.is_new:
        status = _WOULD_BE[entry.status]
    row = {
        "file": _name(plan, names),
        "status": status,
        "rows": row_counts(entry.rows if entry else None),
        "error": plan.error or (entry.error if entry else None),
        "notes": entry.notes.splitlines() if entry and entry.notes else [],
        "samples": plan.samples,
        "seconds": round(entry.seconds, 2) if entry and entry.seconds else None,
        "delivery_id": plan.delivery.delivery_id if plan.delivery else None,
        "run_id": None,
    }
    return row if plan.is_new or entry is None else row | applied_before(entry.status)


def _name(plan: FilePlan, names: Mapping[str, str]) -> str:
    if plan.delivery:
        return file_name(plan.key, plan.delivery.source)
    return names.get(plan.key, plan.key)


def _print_samples(row: dict[str, Any]) -> None:
    for fate in filter(row["samples"].get, FATES):
        rows = row["samples"][fate]
        number = row["rows"][fate] or len(rows)
        click.echo(f"\n{row['file']}, {fate} ({number:,}):")
        for values in rows:
            click.echo(fit(f"  {_line(values)}"))
    for note in row["notes"]:
        say(f"{row['file']}: {visible(note)}")


def _line(values: dict[str, Any]) -> str:
    """Return a sample row, or a reject with its reason, on one line."""

    def cell(name: str) -> str:
        value = values[name]
        text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
        return shortened(printable(text), _VALUE_WIDTH)

    if "reason" in values:
        return f"row {values['row_number']:,}: {cell('reason')}: {cell('raw')}"
    line = f"row {values['row_number']:,}: " + " | ".join(map(cell, ("sku", "name", "description")))
    if "old_name" in values:
        line += f"; replaces {cell('old_name')} | {cell('old_description')}"
    return line


def _exit(plans: Sequence[FilePlan], names: Mapping[str, str]) -> None:
    refused = [plan for plan in plans if plan.entry and plan.is_new and plan.entry.error]
    refused += [plan for plan in plans if plan.is_polled]
    failed = [plan for plan in plans if plan.error and not plan.is_polled]
    for plan in [*refused, *failed]:
        error = plan.error or (plan.entry.error if plan.entry else None) or ""
        say(first_lines(f"{_name(plan, names)}: {visible(error)}"))
    if refused or failed:
        raise SystemExit(FAILED if failed else REFUSED)
