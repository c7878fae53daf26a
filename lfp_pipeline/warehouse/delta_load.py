"""The delta load: of a file that repeats most of an earlier one, only the other records are read.

The products of the earlier delivery, the base, are kept if the file repeats their records byte for
byte: they move to the new delivery. All other records of the file are read and merged as those of
any file. These are new and changed records, and rows of the base that are no products, because a
later row of their sku superseded them. Products whose records the file lacks remain with the base.

The workspace gets these tables, beside those of a reading:

    row_numbers         (place, row_number): the row number in the file of each record that is read
    known               the products of the skus that are read
    known_descriptions  (product_rowid, description): those products whose records are changed
    moved               (product_rowid, row_number): kept products that get another row number
    staying             (product_rowid): products that remain with the base
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from lfp_pipeline.common.duckdb_tools import create_from_arrays
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.reading.comparison import Comparison
from lfp_pipeline.reading.options import Conditions, ReadOptions
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.reading.record_reading import load_records, read_records
from lfp_pipeline.reading.rules import exclude_superseded
from lfp_pipeline.warehouse.invariants import products_held
from lfp_pipeline.warehouse.ledger import entries, exchange_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LEAST_BYTES = 4 << 20
"""Smaller files are read in full."""

LEAST_SHARE = 0.5
"""The least share of records that a file must keep, and that the base must have as products."""

_BYTES_PER_RECORD = 64
"""Memory that the comparison takes for each record of the base, and the file."""

UPDATED_ROWS = 500_000
"""The number of rowids that one update covers; DuckDB joins so many by their place in an array."""

_TABLES = (
    *("rows", "rejects", "excluded", "row_numbers", "known", "known_descriptions"),
    *("moved", "staying", "repeated", "older", "changed", "base_rows"),
)

_BASE = """
SELECT delivery_id
FROM (
    SELECT ledger_number, count(*) AS products
    FROM warehouse.product_rows GROUP BY ledger_number
)
JOIN warehouse.deliveries USING (ledger_number)
WHERE status = 'merged' AND is_regular AND read_with = $read_with
    AND (delivered_at, delivery_id) < ($delivered_at::TIMESTAMP, $delivery_id)
    AND size_bytes >= $share * $size_bytes AND size_bytes * $share <= $size_bytes
    AND products >= $share * rows_read
    AND rows_read <= $most_records
ORDER BY
    partition_key = $partition_key DESC,
    CASE WHEN partition_key = $partition_key THEN delivered_at END DESC,
    products DESC, delivery_id
LIMIT 1
"""

_NUMBER = "SELECT ledger_number FROM warehouse.deliveries WHERE delivery_id = $base"

_PRODUCTS = """
SELECT rowid, row_number::INTEGER FROM warehouse.product_rows WHERE ledger_number = $number
"""

_WINNERS = """
CREATE OR REPLACE VIEW winners AS
SELECT place, row_number, sku, name, description
FROM rows
JOIN row_numbers ON rows.rowid = place
ANTI JOIN excluded ON place + 1 = excluded.row_number
"""

_KNOWN = """
CREATE TABLE known AS
SELECT
    product.rowid AS product_rowid, sku, name, delivery_id, delivered_at,
    ledger_number, product.row_number AS row_number
FROM warehouse.product_rows AS product
SEMI JOIN winners USING (sku)
LEFT JOIN warehouse.deliveries USING (ledger_number)
"""

_PRODUCTS_OF_READ = """
SELECT place, winners.row_number, known.row_number AS known_row_number
FROM known JOIN winners USING (sku)
WHERE ledger_number = $number
"""

_KNOWN_DESCRIPTIONS = """
CREATE OR REPLACE TABLE known_descriptions AS
SELECT product_rowid, description
FROM base_rows
JOIN changed ON base_rows.rowid = place
JOIN known USING (row_number)
WHERE ledger_number = $number
"""

_SAMPLE = "SELECT sku, name, description FROM winners ORDER BY row_number LIMIT 5"

_LEAVE = """
UPDATE warehouse.product_rows SET ledger_number = $number
WHERE rowid IN (SELECT product_rowid FROM staying)
"""

_MOVE = """
UPDATE warehouse.product_rows AS product SET row_number = moved.row_number
FROM (FROM moved WHERE product_rowid BETWEEN $first AND $last) AS moved
WHERE product.rowid = moved.product_rowid AND product.rowid BETWEEN $first AND $last
"""


@dataclass(frozen=True)
class KeptRows:
    """The kept products of a delta load.

    Attributes:
        base: id of the delivery that they come from.
        winners: the number of them that no other row of the file supersedes.
    """

    base: str
    winners: int


def find_base(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    read_with: Conditions,
    memory_bytes: int,
) -> str | None:
    """Return the id of the delivery whose products a file may keep; None: there is none.

    That is the newest one of the partition, or the one with most products. Its records must fit
    into `memory_bytes`.
    """
    sought = {
        "delivery_id": delivery.delivery_id,
        "delivered_at": delivery.delivered_at,
        "partition_key": delivery.partition_key,
        "size_bytes": delivery.size_bytes,
        "read_with": read_with.digest,
        "share": LEAST_SHARE,
        "most_records": memory_bytes // _BYTES_PER_RECORD,
    }
    found = connection.execute(_BASE, sought).fetchone()
    return None if found is None else str(found[0])


def load_delta(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    base: str,
    comparison: Comparison,
    options: ReadOptions,
    folder: Path,
) -> tuple[Reading, KeptRows] | None:
    """Read the records of a file that its base lacks, or whose products do not stand.

    Args:
        folder: gets a file of these records.

    Returns:
        None if the file has to be read in full.
    """
    import numpy as np  # noqa: PLC0415 (the import takes a tenth of a second)

    started = time.perf_counter()
    entry = entries(connection, [base]).get(base)
    read_with = Conditions.of(options, delivery.text_format)
    if entry is None or not _is_usable(entry, read_with, comparison):
        return None
    ((number,),) = connection.execute(_NUMBER, {"base": base}).fetchall()
    rowids, row_numbers = _arrays(connection, _PRODUCTS, number)
    records, earlier_records = comparison.text.index.records, comparison.earlier.index.records
    if row_numbers.size and not (row_numbers.min() >= 1 and row_numbers.max() <= earlier_records):
        return None  # Somebody has edited the tables.
    # By row number in the base, the row number in the file; 0: the file lacks the record.
    new_number = np.zeros(earlier_records + 1, np.int32)
    repeated = np.flatnonzero(comparison.partner >= 0)
    new_number[comparison.partner[repeated] + 1] = repeated + 1
    moved_to = new_number[row_numbers]
    is_kept, is_read = moved_to > 0, np.ones(records, bool)
    is_read[moved_to[is_kept] - 1] = False
    read = np.flatnonzero(is_read)
    if len(read) > (1 - LEAST_SHARE) * records:
        return None
    if not read_records(connection, comparison.text, read, options, folder):
        return None
    create_from_arrays(connection, "row_numbers", place=np.arange(len(read)), row_number=read + 1)
    connection.execute(_WINNERS)
    superseded = exclude_superseded(connection)
    connection.execute(_KNOWN)
    kept_superseded = _exclude_older_than_kept(connection, number, new_number)
    pairs = kept_superseded.size
    _read_changed(connection, comparison, number, new_number, options, folder)
    is_moved = is_kept & (moved_to != row_numbers)
    moved = {"product_rowid": rowids[is_moved], "row_number": moved_to[is_moved]}
    create_from_arrays(connection, "moved", **moved)
    create_from_arrays(connection, "staying", product_rowid=rowids[~is_kept])
    reading = Reading(
        delivery=delivery,
        rows_read=records,
        rows_rejected=0,
        rows_superseded=superseded + pairs,
        ignored_columns=comparison.text.dialect.columns.ignored,
        repaired=False,
        seconds=time.perf_counter() - started,
        sample_products=connection.execute(_SAMPLE).fetchall(),
        sample_rejects=[],
        notes=comparison.text.text.unpacking_notes,
        is_regular=True,
    )
    winners = int(is_kept.sum()) - int(kept_superseded.sum())
    return reading, KeptRows(base, winners)


def drop_delta(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop what a delta load has created in the workspace, so that the file can be read in full."""
    connection.execute("DROP VIEW IF EXISTS winners")
    for table in _TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def move_kept(connection: duckdb.DuckDBPyConnection, kept: KeptRows, delivery: Delivery) -> None:
    """Move the kept products to a delivery, in the transaction of its merge.

    The delivery takes over the number of the base, so only the other products of the base, and the
    row numbers, are written.
    """
    exchange_numbers(connection, kept.base, delivery.delivery_id)
    ((number,),) = connection.execute(_NUMBER, {"base": kept.base}).fetchall()
    connection.execute(_LEAVE, {"number": number})
    for first, last in _ranges(connection):
        connection.execute(_MOVE, {"first": first, "last": last})


def require_winners(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, entry: LedgerEntry
) -> None:
    """Raise a WarehouseInconsistentError unless a delivery holds as many products as it has won."""
    held, winners = products_held(connection, delivery.delivery_id), entry.rows.winners
    if held != winners:
        msg = f"{delivery.delivery_id}: it would hold {held} products, but {winners} rows have won."
        raise WarehouseInconsistentError(msg)


def _is_usable(entry: LedgerEntry, read_with: Conditions, comparison: Comparison) -> bool:
    return (
        entry.status is Status.MERGED
        and bool(entry.is_regular)
        and entry.read_with == read_with.digest
        and entry.rows.read == comparison.earlier.index.records
    )


def _exclude_older_than_kept(
    connection: duckdb.DuckDBPyConnection, number: int, new_number: "Array"
) -> "Array":
    """Exclude the rows that were read before a kept product of their sku in the file.

    Return, for each kept product whose sku was also read, whether the row that was read supersedes
    it.
    """
    places, row_numbers, known_numbers = _arrays(connection, _PRODUCTS_OF_READ, number)
    kept_numbers = new_number[known_numbers]
    is_older = row_numbers < kept_numbers
    create_from_arrays(connection, "older", row_number=places[is_older] + 1)
    connection.execute("INSERT INTO excluded FROM older")
    superseded: Array = ~is_older[kept_numbers > 0]
    return superseded


def _read_changed(
    connection: duckdb.DuckDBPyConnection,
    comparison: Comparison,
    number: int,
    new_number: "Array",
    options: ReadOptions,
    folder: Path,
) -> None:
    """Read the records of the base that the file has changed, for their descriptions.

    They are few, and to find them in the table, DuckDB would decompress most of its descriptions.
    """
    import numpy as np  # noqa: PLC0415

    _, _, known_numbers = _arrays(connection, _PRODUCTS_OF_READ, number)
    changed = np.unique(known_numbers[new_number[known_numbers] == 0])
    path = folder / "base.csv"
    loaded = load_records(connection, comparison.earlier, changed - 1, path, options, "base_rows")
    if loaded is None or not loaded.regular:
        connection.execute("CREATE OR REPLACE TABLE base_rows (description VARCHAR)")
    create_from_arrays(connection, "changed", place=np.arange(len(changed)), row_number=changed)
    connection.execute(_KNOWN_DESCRIPTIONS, {"number": number})


def _arrays(connection: duckdb.DuckDBPyConnection, query: str, number: int) -> "list[Array]":
    """Return the columns of a query for the rows of a ledger number."""
    import numpy as np  # noqa: PLC0415

    return list(
        map(np.asarray, connection.execute(query, {"number": number}).fetchnumpy().values())
    )


def _ranges(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """Yield the first and last rowid of the ranges with products to move."""
    statement = "SELECT DISTINCT product_rowid // $width FROM moved ORDER BY ALL"
    for (part,) in connection.execute(statement, {"width": UPDATED_ROWS}).fetchall():
        yield part * UPDATED_ROWS, (part + 1) * UPDATED_ROWS - 1
