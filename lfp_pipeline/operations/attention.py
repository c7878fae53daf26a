"""What needs attention: deliveries that are not merged, and rejected rows that are not fixed.

The rejected rows of a delivery need no more attention once a newer version of its file is there, or
the file that `lfp rejects` wrote for it is merged, under any name that begins as it was written, or
the delivery is reverted or dismissed. Whatever of that file is rejected again is listed as its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import PurePath

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.operations.read_tables import Row, rows_of
from lfp_pipeline.raw_zone.desired_state import has_dismissed_rejects
from lfp_pipeline.sources.inbox import Listing
from lfp_pipeline.sources.local_file import path_as_text

# Failed deliveries, and refused ones unless a newer version of their file has replaced them. A
# dismissed delivery is reverted.
_NOT_MERGED = """
SELECT * FROM warehouse.deliveries WHERE status <> 'reverted'
QUALIFY status = 'failed' OR status = 'refused' AND row_number() OVER (
    PARTITION BY partition_key ORDER BY delivered_at DESC, delivery_id DESC
) = 1
ORDER BY partition_key, delivered_at
"""

# Only of the newest delivery of a partition: it may have the rows that an older one lacked. A file
# of rejects is named by `rejects_file_name`.
_REJECTS = """
WITH newest AS (
    SELECT partition_key, delivery_id, source, status FROM warehouse.deliveries
    WHERE status NOT IN ('failed', 'reverted')
    QUALIFY row_number() OVER (
        PARTITION BY partition_key ORDER BY delivered_at DESC, delivery_id DESC
    ) = 1
), corrections AS (
    SELECT unnest([source, partition_key]) AS name FROM warehouse.deliveries
    WHERE status = 'merged' AND contains(source || partition_key, '-rejects')
), corrected AS (
    SELECT regexp_extract(name, '([^/]+)-rejects[^/]*$', 1) AS id FROM corrections
)
SELECT partition_key, delivery_id, source, status, count(*) AS rejects
FROM newest JOIN warehouse.rejected_rows USING (delivery_id)
WHERE status = 'refused' OR replace(delivery_id, '#', '-') NOT IN (FROM corrected)
GROUP BY ALL
"""


def rejects_file_name(delivery_id: str) -> str:
    """Return the name of the file with the rejects of a delivery."""
    return f"{delivery_id.replace('#', '-')}-rejects.csv"


def deliveries_to_fix(
    engine: Engine, connection: duckdb.DuckDBPyConnection, listing: Listing | None
) -> list[Row]:
    """Return the ledger rows of failed and refused deliveries that need attention.

    Args:
        listing: the inbox; a file that was removed from it needs no more attention. None: unknown.
    """
    return _still_there(engine, rows_of(connection, _NOT_MERGED), listing)


def rejects_to_fix(
    engine: Engine, connection: duckdb.DuckDBPyConnection, listing: Listing | None
) -> list[Row]:
    """Return the deliveries whose rejected rows need attention, with their number (`rejects`).

    Of a refused delivery, they do as long as the delivery does.
    """
    found = rows_of(connection, _REJECTS)
    refused = [row for row in found if row["status"] == Status.REFUSED]
    merged = [
        row for row in found if row["status"] != Status.REFUSED and not _is_dismissed(engine, row)
    ]
    to_fix = [*_still_there(engine, refused, listing), *merged]
    return sorted(to_fix, key=itemgetter("partition_key"))


def inbox_of(engine: Engine) -> Listing | None:
    """Return the inbox; None: it cannot be read."""
    with suppress(LfpError):
        return engine.catalog.list_inbox()
    return None


def _is_dismissed(engine: Engine, row: Row) -> bool:
    path = engine.raw_zone.path_of(row["delivery_id"])
    return path is not None and has_dismissed_rejects(path)


def _still_there(engine: Engine, rows: Sequence[Row], listing: Listing | None) -> list[Row]:
    """Return the rows of deliveries without those whose files were removed from the inbox."""
    if listing is None or not rows:
        return list(rows)
    inbox = path_as_text(engine.settings.inbox_dir)
    names = (*listing.still_writing, *(entry.name for entry in listing.skipped))
    present = {file.partition_key for file in listing.ready} | set(map(partition_key, names))
    return [
        row
        for row in rows
        if row["partition_key"] in present or not PurePath(row["source"]).is_relative_to(inbox)
    ]
