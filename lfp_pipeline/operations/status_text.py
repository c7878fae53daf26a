"""Renders the status of a data folder as text."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from lfp_pipeline.common.text import (
    cell_count,
    format_size,
    lfp_command,
    padded,
    pluralize,
    preview,
    printable,
    short_name,
    shortened,
)
from lfp_pipeline.model.delivery import labels
from lfp_pipeline.model.ledger_entry import RowCounts, Status
from lfp_pipeline.model.partition_key import typed_name
from lfp_pipeline.operations.read_tables import Row
from lfp_pipeline.operations.status import StatusReport
from lfp_pipeline.warehouse.writer_lock import LockHolder

_REFUSED = (
    "Fix the file and drop it again. While it is in the inbox, `lfp ingest` fails because of it. "
    "To take it off this list:"
)
_FAILED = (
    "`lfp ingest` retries it; so does `{}`, if the file is in the inbox. To end that, and "
    "take it off this list:"
)
_NOT_RETRIED = "Nothing retries it: its bytes are not kept. To take it off this list:"

_NOTHING_RUNS = "    `lfp ingest` ingests them now. While `{}` runs, it ingests them by itself."

_PUBLISH = "    `lfp publish` publishes them now. While `{}` runs, it does so by itself."

_FEED_ADVICE = "    `{}` polls it again after a pause; `lfp ingest NAME` fetches it now."

_SKIPPED_ADVICE = (
    "Replace links by files, since links are not followed; allow read access; or move them out of "
    "the inbox."
)

_IGNORED_ADVICE = (
    "Their names are those of temporary and side files (docs/sources.md lists them), or match "
    "LFP_IGNORED_FILES. To ingest one, rename it."
)

_SHOWN_NOTES = 5
_NOTE_CHARACTERS = 200
_REASON_CHARACTERS = 120


def render_status(state: StatusReport) -> str:
    """Return a status report as lines of text, in titled sections."""
    sections = {
        "Problems": list(state.problems),
        "Warnings": list(state.warnings),
        "Pending": _pending(state),
        "Left out of the inbox": _left_out(state),
        "Running": _running(state),
        "Not published yet": _unpublished(state),
        "Needs attention": _needs_attention(state),
        "Last deliveries": _latest(state),
        "Tables": _sizes(state),
        "Feeds with errors": _feeds(state),
        "Disk": [
            *(f"{format_size(size):>12}  {what}" for what, size in state.disk.items()),
            *([] if state.lake else [f"{format_size(state.free_bytes):>12}  free"]),
        ],
    }
    place = state.lake or str(state.data_dir)
    lines = [f"{place[:1].upper()}{place[1:]}, {_time(state.now)} UTC"]
    for title, entries in sections.items():
        if entries:
            lines += ["", title, *(f"  {line}" for text in entries for line in text.splitlines())]
    return "\n".join(map(printable, lines))


def _pending(state: StatusReport) -> list[str]:
    files = [f"{short_name(file.name)} ({format_size(file.size_bytes)})" for file in state.pending]
    landed = _labels(state, [delivery.delivery_id for delivery in state.pending_deliveries])
    groups = (
        (files, "in the inbox, not merged"),
        (list(map(short_name, state.still_writing)), "in the inbox, still being written"),
        (list(landed.values()), "landed, not merged"),
    )
    lines = [f"{len(names):,} {what}: {preview(names)}" for names, what in groups if names]
    if (files or landed) and not state.runs:
        lines.append(_NOTHING_RUNS.format(state.ui_command))
    return lines or ["None."]


def _left_out(state: StatusReport) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for entry in state.skipped:
        reasons.setdefault(entry.reason, []).append(entry.name)
    lines = [
        f"{len(names):,} skipped ({reason}): {_names(names)}" for reason, names in reasons.items()
    ]
    if lines:
        lines.append(f"    {_SKIPPED_ADVICE}")
    if state.ignored:
        lines.append(f"{len(state.ignored):,} ignored by name: {_names(state.ignored)}")
        lines.append(f"    {_IGNORED_ADVICE}")
    return lines


def _running(state: StatusReport) -> list[str]:
    lines = [
        f"run {run_id[:8]} ({short_name(what)}) for {_duration(state.now - started)}"
        for run_id, what, started in state.runs
    ]
    if state.writer:
        lines.append(f"writing: {_process(state.writer)}")
    lines += [f"waiting for the writer lock: {_process(process)}" for process in state.waiting]
    return lines or ["None."]


def _process(process: LockHolder) -> str:
    return str(replace(process, purpose=short_name(process.purpose)))


def _unpublished(state: StatusReport) -> list[str]:
    ids: dict[str, list[str]] = {}
    names = _labels(state, [delivery_id for delivery_id, _ in state.unpublished])
    for delivery_id, status in state.unpublished:
        ids.setdefault(status, []).append(names[delivery_id])
    lines = [f"{len(found):,} {status}: {preview(found)}" for status, found in ids.items()]
    return [*lines, _PUBLISH.format(state.ui_command)] if lines else []


def _needs_attention(state: StatusReport) -> list[str]:
    rows = state.tables.needs_attention if state.tables else ()
    names = _labels(state, [row["delivery_id"] for row in rows])
    typed = labels(
        {row["delivery_id"]: typed_name(row["partition_key"], row["source"]) for row in rows}
    )
    lines = []
    for row in rows:
        id_ = row["delivery_id"]
        lines.append(f"{names[id_]} {Status(row['status']).phrase}: {row['error']}")
        failed = _FAILED.format(state.ui_command)
        advice = _REFUSED if row["status"] == Status.REFUSED else failed
        lines.append(f"    {_NOT_RETRIED if id_ in state.not_retried else advice}")
        lines.append(f"        {lfp_command('dismiss', typed[id_])}")
    return lines


def _feeds(state: StatusReport) -> list[str]:
    lines = [f"{key}: {error}" for key, error in state.feed_errors.items()]
    return [*lines, _FEED_ADVICE.format(state.ui_command)] if lines else []


def _names(names: Sequence[str]) -> str:
    return preview(list(map(short_name, names)))


def _labels(state: StatusReport, ids: Sequence[str]) -> dict[str, str]:
    """Return a short name of each delivery, in few cells."""
    files = {id_: state.files.get(id_, id_.partition("#")[0]) for id_ in ids}
    return {id_: short_name(label) for id_, label in labels(files).items()}


def _latest(state: StatusReport) -> list[str]:
    if state.tables is None:
        return []
    rows = state.tables.latest
    names = _labels(state, [row["delivery_id"] for row in rows])
    explained = {row["delivery_id"] for row in state.tables.needs_attention}
    width = max(map(cell_count, names.values()), default=0)
    lines = []
    for row in rows:
        id_ = row["delivery_id"]
        result = f"{row['status']}: see above" if id_ in explained else _result(row)
        lines += [f"{padded(names[id_], width)}  {result}", *_notes(row)]
    return lines


def _notes(row: Row) -> list[str]:
    """Return the first notes of a delivery, a line each; they may quote the file."""
    notes = (row.get("notes") or "").splitlines()  # Copies of earlier versions lack the column.
    lines = [f"    {shortened(printable(note), _NOTE_CHARACTERS)}" for note in notes[:_SHOWN_NOTES]]
    if remaining := len(notes) - len(lines):
        lines.append(f"    {pluralize(remaining, 'more note')} in the table deliveries.")
    return lines


def _result(row: Row) -> str:
    if row["status"] != Status.MERGED:
        first_line, _, _ = str(row["error"]).partition("\n")
        return f"{row['status']}: {shortened(first_line, _REASON_CHARACTERS)}"
    rows = RowCounts.of_row(row)
    text = f"{row['status']} {row['merged_at']:%Y-%m-%d %H:%M}, {pluralize(rows.read, 'row')}"
    text += f" ({rows})" if str(rows) else ""
    if seconds := row.get("seconds"):  # Copies of earlier versions lack the column.
        text += f" in {seconds:.2f} s"
    return text


def _sizes(state: StatusReport) -> list[str]:
    tables = state.tables
    if tables is None:
        if state.tables_are_busy:
            return ["A process writes them, and no copy is published. `lfp publish` makes one."]
        exist = state.disk["database"] or state.disk.get("published copy")
        return ["Unreadable: see Problems." if exist else "None: no file has been merged."]
    age = _duration(state.now - tables.as_of)
    lines = [f"{rows:>12,}  {table.replace('_', ' ')}" for table, rows in tables.sizes.items()]
    if to_fix := tables.rejects_to_fix:
        lines[-1] += f", {to_fix:,} of them to fix: `lfp rejects` writes them as CSV files"
    text = f"As of {_time(tables.as_of)} UTC, {age} ago, from {tables.source}"
    if state.is_stale:
        text += "; changed since"
    if state.is_stale and not state.unpublished:  # Else, the advice is there.
        text += ": `lfp publish` publishes the changes now"
    return [*lines, f"{text}."]


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    """Return a duration as `12 s`, `3 min`, `5 h` or `2 days`."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
