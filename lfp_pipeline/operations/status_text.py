"""How things stand with a data folder, as text for people."""

from datetime import UTC, datetime

from lfp_pipeline.common.text import format_size, pluralize, preview, printable, shortened
from lfp_pipeline.model.ledger_entry import RowCounts, Status
from lfp_pipeline.model.partition_key import is_derived
from lfp_pipeline.operations.status import Row, StatusReport

_WHAT_TO_DO = {
    "refused": "Mend the file and drop it anew, or run revert_delivery for it: then it leaves this "
    "list. While it is in the inbox, ingest_inbox fails by it.",
    "failed": "ingest_inbox tries it again; so does the sensor, with what is in the inbox.",
}

_OF_SKIPPED = (
    "Put files in the place of links, which are not followed; let what is denied be read; or move "
    "them out of the inbox."
)

_OF_IGNORED = (
    "They have names of temporary and side files, which docs/sources.md lists, or match "
    "LFP_IGNORED_FILES. Give what is to be taken in another name."
)

_SHOWN_NOTES = 5
_NOTE_CHARACTERS = 200


def render_status(state: StatusReport) -> str:
    """The state for people, in lines."""
    parts = {
        "Problems": list(state.problems),
        "Warnings": list(state.warnings),
        "Pending": _pending(state),
        "Left out of the inbox": _left_out(state),
        "Running": _running(state),
        "Ended, and not published yet": _unpublished(state),
        "Given up": _given_up(state),
        "Last deliveries": _latest(state),
        "Tables": _sizes(state),
        "Feeds with errors": [f"{key}: {error}" for key, error in state.feed_errors.items()],
        "Disk": [
            *(f"{format_size(size):>12}  {what}" for what, size in state.disk.items()),
            f"{format_size(state.free_bytes):>12}  free",
        ],
    }
    lines = [f"{state.data_dir}, {_time(state.moment)} UTC"]
    for title, told in parts.items():
        if told:
            lines += ["", title, *(f"  {line}" for some in told for line in some.splitlines())]
    return "\n".join(map(printable, lines))


def _pending(state: StatusReport) -> list[str]:
    files = [f"{file.name} ({format_size(file.size_bytes)})" for file in state.pending]
    landed = [delivery.delivery_id for delivery in state.pending_deliveries]
    groups = (
        (files, "in the inbox, not in yet"),
        (state.still_writing, "in the inbox, still being written"),
        (landed, "landed, not in yet"),
    )
    lines = [f"{len(names):,} {what}: {preview(names)}" for names, what in groups if names]
    return lines or ["Nothing: all that came is in, or given up."]


def _left_out(state: StatusReport) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for one in state.skipped:
        reasons.setdefault(one.reason, []).append(one.name)
    lines = [
        f"{len(names):,} skipped ({reason}): {preview(names)}" for reason, names in reasons.items()
    ]
    if lines:
        lines.append(f"    {_OF_SKIPPED}")
    if state.ignored:
        lines.append(f"{len(state.ignored):,} ignored by name: {preview(state.ignored)}")
        lines.append(f"    {_OF_IGNORED}")
    return lines


def _running(state: StatusReport) -> list[str]:
    lines = [
        f"run {run_id[:8]} ({what}) for {_duration(state.moment - since)}"
        for run_id, what, since in state.runs
    ]
    if state.writer:
        lines.append(f"writing: {state.writer}")
    lines += [f"waiting for the writer lock: {turn}" for turn in state.waiting]
    return lines or ["Nothing."]


def _unpublished(state: StatusReport) -> list[str]:
    ids: dict[str, list[str]] = {}
    for delivery_id, status in state.unpublished:
        ids.setdefault(status, []).append(delivery_id)
    return [f"{len(some):,} {status}: {preview(some)}" for status, some in ids.items()]


def _given_up(state: StatusReport) -> list[str]:
    lines = []
    for row in state.tables.given_up if state.tables else ():
        lines += [f"{_named(row)} {Status(row['status']).phrase}: {row['error']}"]
        if row["delivery_id"] not in state.left_alone:
            lines += [f"    {_WHAT_TO_DO[row['status']]}"]
    return lines


def _named(row: Row) -> str:
    """Return the id, with the source where the partition's key spells its name in another way."""
    if is_derived(row["partition_key"]):
        return f"{row['delivery_id']} ({row['source']})"
    return str(row["delivery_id"])


def _latest(state: StatusReport) -> list[str]:
    if state.tables is None:
        return []
    rows = state.tables.latest
    width = max((len(row["delivery_id"]) for row in rows), default=0)
    lines = []
    for row in rows:
        lines += [f"{row['delivery_id']:<{width}}  {_told(row)}", *_notes(row)]
    return lines


def _notes(row: Row) -> list[str]:
    """Return the first notes of a delivery, a line each. They may quote the file."""
    notes = (row.get("notes") or "").splitlines()  # A copy by an older version has no such column.
    lines = [f"    {shortened(printable(note), _NOTE_CHARACTERS)}" for note in notes[:_SHOWN_NOTES]]
    if left := len(notes) - len(lines):
        lines.append(f"    {pluralize(left, 'more note')} in the table deliveries.")
    return lines


def _told(row: Row) -> str:
    if row["status"] != Status.MERGED:
        first_line, _, _ = str(row["error"]).partition("\n")
        return f"{row['status']}: {first_line}"
    rows = RowCounts.of_row(row)
    told = f"{row['status']} {row['merged_at']:%Y-%m-%d %H:%M:%S}, {pluralize(rows.read, 'row')}"
    told += f" ({rows})" if str(rows) else ""
    if seconds := row.get("seconds"):  # A copy that an older version published has none.
        told += f" in {seconds:.2f} s, {rows.read / seconds:,.0f} rows/s"
    return told


def _sizes(state: StatusReport) -> list[str]:
    if state.tables is None:
        return ["There are none yet, or none to be had."]
    tables = state.tables
    age = _duration(state.moment - tables.as_of)
    lines = [f"{rows:>12,}  {table.replace('_', ' ')}" for table, rows in tables.sizes.items()]
    told = f"As of {_time(tables.as_of)} UTC, {age} ago, in {tables.source}"
    return [*lines, f"{told}; they have changed since." if state.is_stale else f"{told}."]


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    """For people: `12 s`, `3 min`, `5 h`, `2 days`."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
