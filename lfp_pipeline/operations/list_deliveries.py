"""Lists deliveries: those of the ledger, and those that the tables do not have yet."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import RowCounts, Status
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations.read_tables import Row, Tables

PENDING = "pending"

_LOG = logging.getLogger(__name__)

# In the order in which deliveries ended (see `status`).
_LEDGER = """
SELECT * EXCLUDE (ended_at, number) FROM (
    SELECT *, rowid AS number, coalesce(merged_at, max(merged_at) OVER (ORDER BY rowid)) AS ended_at
    FROM deliveries
)
WHERE ($key IS NULL OR partition_key = $key) AND ($status IS NULL OR status = $status)
    AND delivery_id NOT IN (SELECT unnest($others::VARCHAR[]))
ORDER BY ended_at DESC NULLS LAST, number DESC
LIMIT $limit
"""

_KNOWN = """
SELECT delivery_id, status FROM deliveries
WHERE status = 'failed' OR delivery_id IN (SELECT unnest($ids::VARCHAR[]))
"""


def list_deliveries(
    engine: Engine, tables: Tables | None, key: str | None, status: str | None, limit: int
) -> list[dict[str, Any]]:
    """Return deliveries, those that ended last first; pending ones come before all others.

    A delivery that has ended since the tables were published has its status, but no row counts.

    Args:
        tables: None: there are none, or they cannot be read; then no delivery has row counts.
        key: only deliveries of this partition.
        status: only deliveries with this status.
    """
    with engine.raw_zone.index.snapshot():
        newer = list(_newer(engine, tables))
    others = [id_ for id_, _ in newer]
    wanted = (
        _of_raw_zone(engine, id_, its_status)
        for id_, its_status in newer
        if (key is None or id_.startswith(f"{key}#")) and (status is None or its_status == status)
    )
    found = list(islice((data for data in wanted if data), limit))
    if tables and status != PENDING and len(found) < limit:
        values = {"key": key, "status": status, "others": others, "limit": limit - len(found)}
        found += map(delivery_data, tables.rows(_LEDGER, values))
    return found


def _newer(engine: Engine, tables: Tables | None) -> Iterator[tuple[str, str]]:
    """Yield id and status of each delivery that the tables do not have as it is now."""
    pending = sorted(
        engine.pending_deliveries(_LOG), key=lambda delivery: delivery.landed_at, reverse=True
    )
    now = {delivery.delivery_id: PENDING for delivery in pending}
    if tables is None or tables.is_stale:
        since = int(tables.as_of * 1e9) if tables else 0
        for note in reversed(engine.raw_zone.index.noted_since(since)):
            now.setdefault(note.delivery_id, note.status)
    rows = tables.rows(_KNOWN, {"ids": list(now)}) if tables else []
    known = {row["delivery_id"]: row["status"] for row in rows}
    for id_, status in now.items():
        # A failed delivery is pending, too; its row says why it has failed.
        is_failed = status == PENDING and known.get(id_) == Status.FAILED
        if known.get(id_) != status and not is_failed:
            yield id_, status


def _of_raw_zone(engine: Engine, delivery_id: str, status: str) -> dict[str, Any] | None:
    with suppress(LandingError):  # Its record cannot be read.
        return _unpublished(engine.raw_zone.find(delivery_id), status)
    return None


def delivery_data(row: Row) -> dict[str, Any]:
    """Return a row of the ledger as data; columns that an older table lacks are empty."""
    rows = RowCounts.of_row(row)
    return {
        "delivery_id": row["delivery_id"],
        "file": file_name(row["partition_key"], row["source"]),
        "status": row["status"],
        "delivered_at": row["delivered_at"],
        "merged_at": row["merged_at"],
        "rows": {"read": rows.read} | rows.fates if row["status"] == Status.MERGED else None,
        "seconds": row.get("seconds"),
        "size_bytes": row["size_bytes"],
        "error": row["error"],
        "notes": (row.get("notes") or "").splitlines(),
    }


def _unpublished(delivery: Delivery, status: str) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "file": file_name(delivery.partition_key, delivery.source),
        "status": status,
        "delivered_at": delivery.delivered_at,
        "merged_at": None,
        "rows": None,
        "seconds": None,
        "size_bytes": delivery.size_bytes,
        "error": None,
        "notes": [],
    }
