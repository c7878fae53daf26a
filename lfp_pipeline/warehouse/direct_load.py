"""The direct load: a large file straight into the warehouse, without a stop in memory.

Rows are read into a table of the warehouse of their own, and the merge then puts that into the
place of `products`, with those of the products that stay. So the file is read, compressed and
written in one go, in little memory. It is for a file into an empty warehouse, or one that is about
as large as what is there: then, most of that is written anew anyway. The price is that the writer
lock is held while the file is read.

It takes regular files only, in which no row is to be trimmed or rejected: it gives up at the first
that is not. A load that was killed leaves its table, and the next writer removes it.
"""

import time

import duckdb

from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.habits import form_notes
from lfp_pipeline.reading.loading import dialect_of, is_plain, load_plainly
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reader import Reading, select_winners
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.text_reader import SkippedLines, TextRead, naming
from lfp_pipeline.warehouse.schema import INCOMING, SWAP_IN, create_products

LEAST_BYTES = 4 << 20
"""A smaller file is not worth it. A smaller database is as good as empty."""

# Until the rows are numbered, the column of the row number holds the size of their values.
_LOAD = f"""
INSERT INTO {INCOMING}
SELECT
    sku, name, description, $delivery_id, $delivered_at,
    CASE WHEN irregular THEN error('an irregular row')::BIGINT ELSE text_bytes END
FROM ({{scan}})
"""

_COUNTS = f"SELECT count(*), coalesce(sum(row_number), 0), false FROM {INCOMING}"

_ROWS = f"CREATE OR REPLACE VIEW rows AS SELECT rowid, sku, name, description FROM {INCOMING}"

_NUMBER = [
    f"UPDATE {INCOMING} SET row_number = rowid + 1",
    f"""
DELETE FROM {INCOMING} WHERE rowid IN (
    SELECT row_number - 1 FROM excluded
    UNION ALL SELECT place FROM matches WHERE fate = 'stale'
    UNION ALL SELECT place FROM dead
)
""",
]

_STAYING = """
SELECT (SELECT count(*) FROM warehouse.products) - count(*) FILTER (fate <> 'stale') FROM matches
"""

_STAY = f"""
INSERT INTO {INCOMING}
SELECT product.*
FROM warehouse.products AS product
ANTI JOIN (FROM matches WHERE fate <> 'stale') AS replaced
    ON product.rowid = replaced.product_rowid
"""


def should_load_directly(text_bytes: int, warehouse_bytes: int, memory_bytes: int) -> bool:
    """Whether a file is to be loaded directly.

    Args:
        text_bytes: the size of its text.
        warehouse_bytes: the size of the database file.
        memory_bytes: what the workspace may use. A file of a quarter fits in with what it takes.
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
    """Load a delivery into the attached warehouse, for the merge to adopt.

    Returns:
        What was read; None if the file is not regular, and is to be read with more care.

    Raises:
        DeliveryRefusedError: it has no usable header.
    """
    started = time.perf_counter()
    if not text.is_readable:
        return None
    with naming(text.name):
        dialect = dialect_of(text, options)
    if not is_plain(dialect):
        return None
    connection.execute(create_products(INCOMING))
    this = {"delivery_id": delivery.delivery_id, "delivered_at": delivery.delivered_at}
    # A row that DuckDB cannot read, or an irregular one, leaves it to the careful way.
    plain = load_plainly(connection, text.path, dialect, options, _LOAD, this, _COUNTS)
    if plain is None:
        connection.execute(f"DROP TABLE {INCOMING}")
        return None
    connection.execute(_ROWS)
    connection.execute(CREATE_REJECTS)
    read = TextRead(
        text,
        dialect.columns.ignored,
        repaired=False,
        skipped=SkippedLines(blank=plain.empty_lines, above_header=dialect.lines_above),
        notes=[*text.notes, *form_notes(text.path, dialect)],
        size_bytes=text.path.stat().st_size,
    )
    return select_winners(connection, delivery, [read], started)


def drop_loaded_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave nothing of what was loaded and not adopted."""
    connection.execute(f"DROP TABLE IF EXISTS {INCOMING}")


def swap_in_loaded_table(connection: duckdb.DuckDBPyConnection) -> None:
    """Put what was loaded into the place of the products, within the transaction of a merge."""
    (staying,) = connection.execute(_STAYING).fetchall()[0]
    for statement in [*_NUMBER, *([_STAY] if staying else []), SWAP_IN]:
        connection.execute(statement)
