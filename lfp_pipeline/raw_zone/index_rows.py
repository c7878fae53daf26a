"""The rows of the raw index, made from the sidecars of deliveries."""

import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.common.clock import microseconds
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.raw_records import UNREADABLE, parse_record
from lfp_pipeline.raw_zone.sidecars import Sidecar
from lfp_pipeline.raw_zone.status_notes import StatusNote

IN_FORCE = "NOT reverted AND ended IS NOT 'refused'"
"""SQL: the delivery counts, or may still count when it is merged."""

IndexRow = tuple[object, ...]

# Stored, because a subquery for each file makes a query slower by half.
_SET_HAS_NEWER = f"""
UPDATE deliveries SET has_newer = NOT has_newer
WHERE key = :key AND has_newer <> (
    stem < coalesce((SELECT max(stem) FROM deliveries WHERE key = :key AND {IN_FORCE}), '')
)
"""


def replace_rows(
    index: sqlite3.Connection, key: str, rows: Iterable[IndexRow], gone: Collection[str]
) -> None:
    """Insert or replace rows of a partition, and delete those of stems that are gone."""
    index.executemany(
        "DELETE FROM deliveries WHERE key = ? AND stem = ?", [(key, stem) for stem in gone]
    )
    index.executemany(f"INSERT OR REPLACE INTO deliveries VALUES ({', '.join('?' * 13)}, 0)", rows)
    index.execute(_SET_HAS_NEWER, {"key": key})


def read_columns(
    record: Sidecar | None,
    note: Sidecar | None,
    *,
    reverted: bool,
    pruned: bool,
    disk_bytes: int | None = None,
) -> IndexRow:
    """Return the columns of a delivery after `files`, as its sidecars say.

    Args:
        disk_bytes: the size of all its files; None: as the record says.
    """
    version_us = size_bytes = source_ctime_ns = landed_us = None
    noted: tuple[str | None, str | None, int | None] = (None, None, None)
    if record is not None:
        with suppress(*UNREADABLE):  # Reading the delivery reports what is wrong with its record.
            delivery = parse_record(record, Path())
            version_us, size_bytes = microseconds(delivery.version_time), delivery.size_bytes
            source_ctime_ns = delivery.source_ctime_ns
            landed_us = microseconds(delivery.landed_at)
    if note is not None:
        status_note = StatusNote.parsed(note)
        status = status_note.reconciled_status(Status.REVERTED if reverted else Status.MERGED)
        noted = status, status_note.database_id, status_note.noted_ns
    if disk_bytes is None:
        disk_bytes = 0 if pruned else size_bytes or 0
    of_record = source_ctime_ns, disk_bytes, landed_us
    return version_us, size_bytes, *noted, reverted, pruned, *of_record
