"""The merge of a deletion: a delivery that deletes skus instead of setting them.

A sku's last deletion stays in `deletions`: what is older than that and arrives later is stale. So
replays do not bring a product back, and a later delivery does.
"""

import time
from pathlib import Path

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entry_of, record
from lfp_pipeline.warehouse.name_counts import apply_changed_names

# The format is ours, and DuckDB has written it. The size of a buffer is said, too: DuckDB 1.5 would
# make it 16 times that of the longest line, and takes the memory for all of it at once.
READ_DELETION = """
SELECT sku
FROM read_csv($path, header = true, columns = {'sku': 'VARCHAR'}, delim = ',', quote = '"',
    escape = '"', auto_detect = false, max_line_size = 16000000,
    buffer_size = 16000000)
"""

_OLDER = "(delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)"

_SKUS_TO_DELETE = (
    f"CREATE TABLE doomed AS SELECT sku, count(*) AS times FROM ({READ_DELETION}) GROUP BY sku"
)

_DELETED_PRODUCTS = f"""
CREATE TABLE gone AS
SELECT product.rowid AS product_rowid, name
FROM warehouse.products AS product
SEMI JOIN doomed USING (sku)
WHERE {_OLDER}
"""

_CHANGED_NAMES = """
CREATE OR REPLACE TABLE changed_names AS
SELECT name, -count(*) AS change FROM gone GROUP BY name
"""

_NEWER = f"""
SELECT count(*)
FROM doomed
SEMI JOIN (
    SELECT sku FROM warehouse.products WHERE NOT {_OLDER}
    UNION ALL SELECT sku FROM warehouse.deletions WHERE NOT {_OLDER}
) AS newer USING (sku)
"""

_READ = "SELECT coalesce(sum(times), 0)::BIGINT, count(*) FROM doomed"

_DELETE = "DELETE FROM warehouse.products WHERE rowid IN (SELECT product_rowid FROM gone)"

_BURY = [
    f"""
DELETE FROM warehouse.deletions
WHERE sku IN (SELECT sku FROM doomed) AND {_OLDER}
""",
    """
INSERT INTO warehouse.deletions
SELECT sku, $delivery_id, $delivered_at
FROM doomed ANTI JOIN warehouse.deletions USING (sku)
""",
]


def merge_deletion(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, started: float
) -> LedgerEntry:
    """Delete from the attached warehouse what a deletion says, whole or not at all.

    Args:
        connection: to a workspace.
        delivery: of that kind.
        started: when the work on it was, by `time.perf_counter`.

    Returns:
        Its account; if it had been merged before, the one in the ledger.

    Raises:
        WarehouseInconsistentError: a law would not hold. Nothing was changed.
    """
    known = entry_of(connection, delivery)
    if known is not None and known.status is Status.MERGED:
        return known
    this = {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
    read_skus_to_delete(connection, delivery.path)
    connection.execute(_DELETED_PRODUCTS, this)
    connection.execute(_CHANGED_NAMES)
    (gone,) = connection.execute("SELECT count(*) FROM gone").fetchall()[0]
    (newer,) = connection.execute(_NEWER, this).fetchall()[0]
    read, skus = connection.execute(_READ).fetchall()[0]
    account = LedgerEntry(
        delivery_id=delivery.delivery_id,
        status=Status.MERGED,
        merged_at=utc_now(),
        rows=RowCounts(
            read,
            unchanged=skus - gone - newer,
            superseded=read - skus,
            stale=newer,
            deleted=gone,
        ),
        seconds=time.perf_counter() - started,
    )
    before = product_count(connection)
    with transaction(connection):
        connection.execute(_DELETE)
        apply_changed_names(connection)
        for statement in _BURY:
            connection.execute(statement, this)
        record(connection, [(delivery, account)])
        if product_count(connection) != before - gone:
            msg = f"{delivery.delivery_id}: not as many products are gone as it has deleted."
            raise WarehouseInconsistentError(msg)
    return account


def read_skus_to_delete(connection: duckdb.DuckDBPyConnection, raw: Path) -> None:
    """Read the skus of a deletion into the workspace's table `doomed`."""
    connection.execute("DROP TABLE IF EXISTS doomed")
    connection.execute(_SKUS_TO_DELETE, {"path": str(raw)})
