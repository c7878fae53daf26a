"""What the ledger says about files: high shares of rejects, stale versions, recent deliveries."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import duckdb

STALE = """
SELECT * FROM deliveries WHERE status = 'merged'
QUALIFY row_number() OVER (PARTITION BY partition_key ORDER BY merged_at DESC, rowid DESC) = 1
    AND delivered_at < max(delivered_at) OVER (PARTITION BY partition_key)
    AND rows_stale > 0 AND rows_inserted + rows_updated + rows_unchanged = 0
ORDER BY merged_at DESC
"""
"""Deliveries that were merged last in their partition, are older than others, and are stale."""

_HIGH_SHARES = """
SELECT partition_key, source, rows_read, rows_rejected
FROM warehouse.deliveries
WHERE status = 'merged' AND kind = 'products' AND merged_at >= $since
QUALIFY rows_rejected > $share * rows_read AND row_number() OVER (
    PARTITION BY partition_key ORDER BY delivered_at DESC, delivery_id DESC
) = 1
ORDER BY rows_rejected / rows_read DESC, partition_key
"""

_RECENT = """
SELECT partition_key, source, rows_read, rows_rejected
FROM warehouse.deliveries
WHERE status = 'merged' AND kind = 'products'
ORDER BY merged_at DESC LIMIT $limit
"""

_IN_FORCE = """
SELECT partition_key, delivery_id FROM warehouse.deliveries
WHERE partition_key IN (SELECT unnest($keys::VARCHAR[]))
QUALIFY row_number() OVER (
    PARTITION BY partition_key
    ORDER BY status = 'reverted', delivered_at DESC, delivery_id DESC
) = 1
"""


class FileRows(NamedTuple):
    """The rows of a merged file.

    Attributes:
        source: the place that the file came from, without credentials.
    """

    partition_key: str
    source: str
    read: int
    rejected: int

    @property
    def reject_share(self) -> float:
        """The share of the rows that are rejected."""
        return self.rejected / self.read if self.read else 0.0


def high_reject_shares(
    connection: duckdb.DuckDBPyConnection, share: float, since: datetime
) -> list[FileRows]:
    """Return the files with a larger share of rejects, the largest share first.

    Args:
        since: only the newest version of each file counts, among those merged since then.
    """
    found = connection.execute(_HIGH_SHARES, {"share": share, "since": since})
    return list(map(FileRows._make, found.fetchall()))


def recent_deliveries(connection: duckdb.DuckDBPyConnection, limit: int) -> list[FileRows]:
    """Return the deliveries of files that were merged last, the latest first."""
    return list(map(FileRows._make, connection.execute(_RECENT, {"limit": limit}).fetchall()))


def stale_deliveries(connection: duckdb.DuckDBPyConnection, limit: int) -> Sequence[str]:
    """Return the ids of the first deliveries that `STALE` finds in the current database."""
    sql = f"SELECT delivery_id FROM ({STALE}) LIMIT $limit"
    return [id_ for (id_,) in connection.execute(sql, {"limit": limit}).fetchall()]


def deliveries_in_force(
    connection: duckdb.DuckDBPyConnection, partition_keys: Collection[str]
) -> dict[str, str]:
    """Return the id of the newest delivery of each partition, also of a refused or failed one.

    A reverted delivery counts only if there is no other.
    """
    found = connection.execute(_IN_FORCE, {"keys": list(partition_keys)})
    return dict(found.fetchall())
