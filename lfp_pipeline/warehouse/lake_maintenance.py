"""The maintenance of a lake: fewer and denser files, fewer snapshots, no files of killed writers.

Each step is a commit of its own, under the writer lock. The file of an expired snapshot stays for
some time, because a reader that has planned its query may still open it.
"""

from datetime import datetime, timedelta

import duckdb

from lfp_pipeline.warehouse.backend import Maintenance
from lfp_pipeline.warehouse.lake_hold import Hold

GRACE = timedelta(hours=1)
"""The least time from the end of a file's last snapshot to the removal of the file."""

ORPHAN_AGE = timedelta(days=1)
"""Files that the catalog does not know are removed after this time: a writer may still write."""

DELETED_SHARE = 0.25
"""Files with a larger share of deleted rows are written again."""

_REWRITE = f"CALL ducklake_rewrite_data_files('warehouse', delete_threshold => {DELETED_SHARE})"
_MERGE = "CALL ducklake_merge_adjacent_files('warehouse')"
_EXPIRE = "CALL ducklake_expire_snapshots('warehouse', older_than => $time, dry_run => $dry_run)"
_CLEAN = "CALL ducklake_cleanup_old_files('warehouse', older_than => $time, dry_run => $dry_run)"
_ORPHANS = (
    "CALL ducklake_delete_orphaned_files('warehouse', older_than => $time, dry_run => $dry_run)"
)

# Without the files of deleted rows: those are few, and removed with their snapshots.
_FILES = "SELECT sum(file_count)::BIGINT FROM ducklake_table_info('warehouse')"


def maintain_lake(
    connection: duckdb.DuckDBPyConnection, now: datetime, retention: timedelta, hold: Hold | None
) -> Maintenance:
    """Maintain the attached lake, and return what was done.

    Args:
        now: the present time by the clock of PostgreSQL, as the times of snapshots are.
        retention: the age up to which snapshots are kept.
        hold: the writer lock; None: change nothing, and return what would be done.

    Raises:
        WarehouseBusyError: the lock was lost.
    """
    dry_run = hold is None
    files = _number_of_files(connection)
    if not dry_run:
        connection.execute(_REWRITE)
        connection.execute(_MERGE)

    def count(statement: str, age: timedelta) -> int:
        if hold is not None:  # The fence refuses commits, not the removal of files.
            hold.require()
        values = {"time": now - age, "dry_run": dry_run}
        return len(connection.execute(statement, values).fetchall())

    return Maintenance(
        files_before=files,
        files=_number_of_files(connection),
        snapshots_expired=count(_EXPIRE, retention),
        files_removed=count(_CLEAN, GRACE),
        orphans_removed=count(_ORPHANS, ORPHAN_AGE),
    )


def _number_of_files(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute(_FILES).fetchall()[0][0] or 0)
