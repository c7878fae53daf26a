"""What needs attention: deliveries that are not merged, and rejected rows that are not fixed.

The rejected rows of a delivery need no more attention once a newer version of its file is there, or
the file that `lfp rejects` wrote for it is merged, under any name that begins as it was written, or
the delivery is reverted, or just these rows are dismissed. Whatever of that file is rejected again
is listed as its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path, PurePath

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.operations.read_tables import Row, rows_of
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
SELECT partition_key, delivery_id, source, status, count(*) AS rejects,
    status <> 'refused' AND replace(delivery_id, '#', '-') IN (FROM corrected) AS is_corrected
FROM newest JOIN warehouse.rejected_rows USING (delivery_id)
GROUP BY ALL
"""

_DIGEST = """
SELECT md5(string_agg(concat(row_number, ':', byte_start), ' ' ORDER BY row_number))
FROM warehouse.rejected_rows WHERE delivery_id = $delivery_id
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
    found = [row for row in rows_of(connection, _REJECTS) if not row["is_corrected"]]
    refused = [row for row in found if row["status"] == Status.REFUSED]
    merged = [
        row
        for row in found
        if row["status"] != Status.REFUSED and not _is_dismissed(engine, connection, row)
    ]
    to_fix = [*_still_there(engine, refused, listing), *merged]
    return sorted(to_fix, key=itemgetter("partition_key"))


def ids_to_dismiss(engine: Engine, connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the ids of the deliveries that `lfp dismiss FILE` is about.

    Of a file, they are those that are not merged and need attention; if there are none, the one
    with rejected rows that do.
    """
    listing = inbox_of(engine)
    not_merged = deliveries_to_fix(engine, connection, listing)
    keys = {row["partition_key"] for row in not_merged}
    rejects = rejects_to_fix(engine, connection, listing)
    others = [row for row in rejects if row["partition_key"] not in keys]
    return frozenset(row["delivery_id"] for row in (*not_merged, *others))


def why_rejects_are_fixed(
    engine: Engine, connection: duckdb.DuckDBPyConnection, delivery_id: str
) -> str | None:
    """Return why the rejected rows of a merged delivery need no attention; None: they do."""
    found = {row["delivery_id"]: row for row in rows_of(connection, _REJECTS)}
    row = found.get(delivery_id)
    if row is None:
        return "A newer version of its file replaces its rejected rows."
    if row["is_corrected"]:
        return "The corrections of its rejected rows are merged."
    if _is_dismissed(engine, connection, row):
        return "Its rejected rows are dismissed already."
    return None


def digest_of_rejects(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> str:
    """Return a digest that says which rows of a delivery are rejected."""
    (row,) = connection.execute(_DIGEST, {"delivery_id": delivery_id}).fetchall()
    return str(row[0])


def inbox_of(engine: Engine) -> Listing | None:
    """Return the inbox; None: it cannot be read."""
    with suppress(LfpError):
        return engine.catalog.list_inbox()
    return None


def _is_dismissed(engine: Engine, connection: duckdb.DuckDBPyConnection, row: Row) -> bool:
    name = engine.raw_zone.name_of(row["delivery_id"])
    dismissed = engine.raw_zone.desired.dismissed_rejects(name) if name else None
    return dismissed is not None and dismissed == digest_of_rejects(connection, row["delivery_id"])


def _still_there(engine: Engine, rows: Sequence[Row], listing: Listing | None) -> list[Row]:
    """Return the rows of deliveries without those whose files were removed from the inbox."""
    if listing is None or not rows:
        return list(rows)
    inbox = path_as_text(Path(engine.settings.inbox_place))
    names = (*listing.still_writing, *(entry.name for entry in listing.skipped))
    present = {file.partition_key for file in listing.ready} | set(map(partition_key, names))
    return [
        row
        for row in rows
        if row["partition_key"] in present or not PurePath(row["source"]).is_relative_to(inbox)
    ]
