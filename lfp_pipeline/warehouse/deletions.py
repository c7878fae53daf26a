"""The merge of a deletion: a delivery that deletes skus instead of setting them.

The table `deletions` keeps the last deletion of each sku. Rows that are older are stale when they
are merged later. So a replay does not bring a product back, and a newer delivery does.
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

# The purge has written the file with DuckDB. The size of a buffer is given, too: DuckDB 1.5 makes
# it 16 times that of the longest line, and allocates all of it at once.
_SKUS_TO_DELETE = """
CREATE TABLE skus_to_delete AS
SELECT sku, count(*) AS times
FROM read_csv($path, header = true, columns = {'sku': 'VARCHAR'}, delim = ',', quote = '"',
    escape = '"', auto_detect = false, max_line_size = 16000000,
    buffer_size = 16000000)
GROUP BY sku
"""

_OLDER = "(delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)"

_DELETED_PRODUCTS = f"""
CREATE TABLE deleted_products AS
SELECT product.rowid AS product_rowid, name
FROM warehouse.product_rows AS product
SEMI JOIN skus_to_delete USING (sku)
LEFT JOIN warehouse.deliveries USING (ledger_number)
WHERE coalesce({_OLDER}, true)
"""

_CHANGED_NAMES = """
CREATE OR REPLACE TABLE changed_names AS
SELECT name, -count(*) AS change FROM deleted_products GROUP BY name
"""

_NEWER = f"""
SELECT count(*)
FROM skus_to_delete
SEMI JOIN (
    SELECT sku FROM warehouse.products WHERE NOT {_OLDER}
    UNION ALL SELECT sku FROM warehouse.deletions WHERE NOT {_OLDER}
) AS newer USING (sku)
"""

_READ = "SELECT coalesce(sum(times), 0)::BIGINT, count(*) FROM skus_to_delete"

_DELETE = """
DELETE FROM warehouse.product_rows WHERE rowid IN (SELECT product_rowid FROM deleted_products)
"""

_ADD_DELETIONS = [
    f"""
DELETE FROM warehouse.deletions
WHERE sku IN (SELECT sku FROM skus_to_delete) AND {_OLDER}
""",
    """
INSERT INTO warehouse.deletions
SELECT sku, $delivery_id, $delivered_at
FROM skus_to_delete ANTI JOIN warehouse.deletions USING (sku)
""",
]


def merge_deletion(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, started: float
) -> LedgerEntry:
    """Delete the skus of a deletion from the attached warehouse, whole or not at all.

    Return the ledger entry; if the deletion had been merged before, the existing one. Work on the
    deletion began at `started`, by `time.perf_counter`.

    Raises:
        WarehouseInconsistentError: an invariant would break. Nothing was changed.
    """
    known = entry_of(connection, delivery)
    if known is not None and known.status is Status.MERGED:
        return known
    this = {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
    read_skus_to_delete(connection, delivery.path)
    connection.execute(_DELETED_PRODUCTS, this)
    connection.execute(_CHANGED_NAMES)
    (deleted,) = connection.execute("SELECT count(*) FROM deleted_products").fetchall()[0]
    (newer,) = connection.execute(_NEWER, this).fetchall()[0]
    read, skus = connection.execute(_READ).fetchall()[0]
    entry = LedgerEntry(
        delivery_id=delivery.delivery_id,
        status=Status.MERGED,
        merged_at=utc_now(),
        rows=RowCounts(
            read,
            unchanged=skus - deleted - newer,
            superseded=read - skus,
            stale=newer,
            deleted=deleted,
        ),
        seconds=time.perf_counter() - started,
    )
    before = product_count(connection)
    with transaction(connection):
        connection.execute(_DELETE)
        apply_changed_names(connection, before)
        for statement in _ADD_DELETIONS:
            connection.execute(statement, this)
        record(connection, [(delivery, entry)])
        if product_count(connection) != before - deleted:
            msg = f"{delivery.delivery_id}: the number of products did not shrink by the deleted."
            raise WarehouseInconsistentError(msg)
    return entry


def read_skus_to_delete(connection: duckdb.DuckDBPyConnection, raw: Path) -> None:
    """Read the skus of a deletion into the table `skus_to_delete` of the workspace."""
    connection.execute("DROP TABLE IF EXISTS skus_to_delete")
    connection.execute(_SKUS_TO_DELETE, {"path": str(raw)})
