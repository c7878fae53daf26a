"""The direct load: a large file goes straight into the warehouse, without a stop in memory.

The file is read into a table of its own in the warehouse. The merge then puts that table into the
place of `product_rows`, with the products that remain. So the file is read, compressed and written
in one pass and in little memory. This pays for a file into an empty warehouse, and for a file about
as large as the database, where a merge writes most of the products anyway. The writer lock is held
while the file is read.

Only regular files are loaded so. At the first row that needs trimming or is rejected, the load
ends, and the file is read into the workspace instead. A killed load leaves its table behind; the
next writer removes the table.
"""

import time

import duckdb

from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.reading.loading import dialect_of, is_plain, load_plainly
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reader import Reading, select_winners
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.text_reader import TextRead, naming
from lfp_pipeline.warehouse.ledger import ledger_number
from lfp_pipeline.warehouse.schema import INCOMING, SWAP_IN, create_product_rows

LEAST_BYTES = 4 << 20
"""Smaller files are not loaded directly. A smaller database counts as empty."""

# Until the rows are numbered, the column of the row number holds the size of their values.
_LOAD = f"""
INSERT INTO {INCOMING}
SELECT
    {COLUMN_LIST}, $ledger_number,
    CASE WHEN irregular THEN error('an irregular row')::BIGINT ELSE text_bytes END
FROM ({{scan}})
"""

_COUNTS = f"SELECT count(*), coalesce(sum(row_number), 0), false FROM {INCOMING}"

_ROWS = f"CREATE OR REPLACE VIEW rows AS SELECT rowid, {COLUMN_LIST} FROM {INCOMING}"

_NUMBER = [
    f"UPDATE {INCOMING} SET row_number = rowid + 1",
    f"""
DELETE FROM {INCOMING} WHERE rowid IN (
    SELECT row_number - 1 FROM excluded
    UNION ALL SELECT place FROM matches WHERE fate = 'stale'
    UNION ALL SELECT place FROM deleted_later
)
""",
]

_COUNT_REMAINING = """
SELECT (SELECT count(*) FROM warehouse.product_rows) - count(*) FILTER (fate <> 'stale')
FROM matches
"""

_ADD_REMAINING = f"""
INSERT INTO {INCOMING}
SELECT product.*
FROM warehouse.product_rows AS product
ANTI JOIN (FROM matches WHERE fate <> 'stale') AS replaced
    ON product.rowid = replaced.product_rowid
"""


def should_load_directly(text_bytes: int, warehouse_bytes: int, memory_bytes: int) -> bool:
    """Return whether to load a file directly, by the size of its text and that of the database.

    With a limit of `memory_bytes`, the workspace can hold a file of a quarter of that.
    """
    if warehouse_bytes < LEAST_BYTES:
        return text_bytes >= LEAST_BYTES
    return text_bytes >= max(warehouse_bytes, memory_bytes // 4)


def load_directly(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    text: PlainText,
    options: ReadOptions,
) -> Reading | None:
    """Load a delivery into a table of the attached warehouse, for the merge to swap in.

    Return None if the file is not regular, and has to be read into the workspace.

    Raises:
        DeliveryRefusedError: the file has no usable header.
    """
    started = time.perf_counter()
    if not text.is_readable:
        return None
    with naming(text.name):
        dialect = dialect_of(text, options)
    if not is_plain(dialect):
        return None
    create_product_rows(connection, INCOMING)
    this = {"ledger_number": ledger_number(connection, delivery)}
    limit = RejectLimit(options.max_reject_share)
    # A row that DuckDB cannot read, or an irregular one, leaves the file to the workspace.
    loaded = load_plainly(connection, text, dialect, options, limit, _LOAD, this, _COUNTS)
    if loaded is None:
        connection.execute(f"DROP TABLE {INCOMING}")
        return None
    connection.execute(_ROWS)
    connection.execute(CREATE_REJECTS)
    return select_winners(connection, delivery, [TextRead.of(text, loaded)], started)


def drop_loaded_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop a loaded table that no merge has swapped in."""
    connection.execute(f"DROP TABLE IF EXISTS {INCOMING}")


def swap_in_loaded_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the loaded table into the place of `product_rows`, in the transaction of a merge."""
    (remaining,) = connection.execute(_COUNT_REMAINING).fetchall()[0]
    for statement in [*_NUMBER, *([_ADD_REMAINING] if remaining else []), SWAP_IN]:
        connection.execute(statement)
