"""The status of a data folder as data: the keys of `lfp status --json`, which do not change."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations.list_deliveries import delivery_data
from lfp_pipeline.operations.status import StatusReport
from lfp_pipeline.warehouse.writer_lock import LockHolder


def status_data(state: StatusReport) -> dict[str, Any]:
    """Return a status report as texts, numbers, times, lists and mappings."""
    tables = state.tables
    return {
        "data_dir": str(state.data_dir),
        "now": _time(state.now),
        "problems": list(state.problems),
        "warnings": list(state.warnings),
        "pending_files": [
            {"file": file.name, "size_bytes": file.size_bytes} for file in state.pending
        ],
        "still_writing": list(state.still_writing),
        "pending_deliveries": [
            {
                "delivery_id": delivery.delivery_id,
                "file": file_name(delivery.partition_key, delivery.source),
            }
            for delivery in state.pending_deliveries
        ],
        "skipped": [asdict(entry) for entry in state.skipped],
        "ignored": list(state.ignored),
        "runs": [
            {"run_id": run_id, "job": job, "started_at": _time(started)}
            for run_id, job, started in state.runs
        ],
        "writer": _process(state.writer) if state.writer else None,
        "waiting": [_process(process) for process in state.waiting],
        "unpublished": [
            {"delivery_id": delivery_id, "status": status}
            for delivery_id, status in state.unpublished
        ],
        "needs_attention": [
            delivery_data(row) | {"is_retried": row["delivery_id"] not in state.not_retried}
            for row in (tables.needs_attention if tables else ())
        ],
        "last_deliveries": [delivery_data(row) for row in (tables.latest if tables else ())],
        "tables": {
            "source": tables.source,
            "as_of": _time(tables.as_of),
            "is_stale": state.is_stale,
            "rows": dict(tables.sizes),
            "rejects_to_fix": tables.rejects_to_fix,
        }
        if tables
        else None,
        "tables_are_busy": state.tables_are_busy,
        "feed_errors": dict(state.feed_errors),
        "disk_bytes": {what.replace(" ", "_"): size for what, size in state.disk.items()},
        "free_bytes": state.free_bytes,
    }


def _process(process: LockHolder) -> Mapping[str, object]:
    return asdict(process) | {"since": _time(process.since)}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
