"""Maintains the storage of the tables (job `maintain_tables`); no row changes.

A lake gets fewer and denser files; snapshots older than the retention time expire, and files that
no snapshot needs are removed after a time of grace. A database in a file has its log moved into it.
"""

import logging
from datetime import timedelta

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import format_size, pluralize
from lfp_pipeline.engine import Engine
from lfp_pipeline.operations import Report


def maintain_tables(engine: Engine, log: logging.Logger, *, dry_run: bool = False) -> Report:
    """Write small files and files with many deleted rows again; remove what nobody reads.

    Raises:
        LfpError: there are no tables, or another process keeps them.
        duckdb.Error: the maintenance failed. No row is lost.
    """
    started, warehouse = utc_now(), engine.warehouse
    if not warehouse.exists:
        return Report("There is nothing to do: there are no tables yet. Run `lfp ingest`.", {})
    before = warehouse.size_bytes
    retention = timedelta(hours=engine.settings.lake_retention_hours)
    done = warehouse.maintain(retention, log, dry_run=dry_run)
    after = warehouse.size_bytes
    if done is None:
        would = "Would move" if dry_run else "Moved"
        summary = f"{would} the write-ahead log into {warehouse.location}."
        return Report(summary, {"size_bytes": after})
    expired = pluralize(done.snapshots_expired, "snapshot")
    removed = pluralize(done.files_removed + done.orphans_removed, "file")
    if dry_run:
        summary = (
            f"Would write small files and files with many deleted rows again; the tables have "
            f"{pluralize(done.files_before, 'file')}. Would expire {expired}, and remove {removed}."
        )
    else:
        summary = (
            f"Wrote {pluralize(done.files_before, 'file')} of the tables again as "
            f"{pluralize(done.files, 'file')}. Expired {expired}, and removed {removed}. "
            f"The lake has {format_size(after)}; it had {format_size(before)}."
        )
        if after > before:
            hours = engine.settings.lake_retention_hours
            summary += (
                " The former files stay for readers of earlier snapshots: a later `lfp maintain` "
                f"removes them, after {hours:g} h (LFP_LAKE_RETENTION_HOURS)."
            )
        engine.published.note_operation("maintain_tables", started, summary, log)
    figures = {
        "files_before": done.files_before,
        "files": done.files,
        "snapshots_expired": done.snapshots_expired,
        "files_removed": done.files_removed,
        "orphans_removed": done.orphans_removed,
        "size_bytes": after,
    }
    return Report(summary, figures)
