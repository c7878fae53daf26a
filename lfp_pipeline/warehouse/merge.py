"""The merge: a batch of deliveries into `products`, their counts and ledger rows, all at once.

Of all rows of a sku ever delivered, the one with the greatest (delivered_at, delivery_id,
row_number) wins, whenever it arrives. Within one delivery the reading has chosen already, so here
whole deliveries compare.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status, unmerged_entry
from lfp_pipeline.model.table_spec import COLUMN_LIST
from lfp_pipeline.reading.options import Conditions
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.warehouse.direct_load import swap_in_loaded_table
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import delete_rejects, entries, entry_of, record
from lfp_pipeline.warehouse.matching import match
from lfp_pipeline.warehouse.name_counts import apply_changed_names, find_changed_names

_LEAVE_OUT = [
    "DELETE FROM arrivals WHERE delivery_number IN (SELECT unnest($numbers::USMALLINT[]))",
    "DELETE FROM arrived_rejects WHERE delivery_number IN (SELECT unnest($numbers::USMALLINT[]))",
]

# Unchanged rows only learn where they came from last: three narrow columns, in place, for a tenth
# of the cost of new rows. Rows with another text are written anew, which is cheaper there.
_MOVE_UNCHANGED = """
UPDATE warehouse.products AS product
SET
    delivery_id = moved.delivery_id,
    delivered_at = moved.delivered_at,
    row_number = moved.row_number
FROM (
    FROM matches JOIN latest USING (place) JOIN batch USING (delivery_number)
    WHERE fate = 'unchanged'
) AS moved
WHERE product.rowid = moved.product_rowid
"""

MAX_MOVED = 1_000_000
"""What is updated in place takes memory, beside the file itself. More is written anew, too."""

_REWRITE_ALL = "UPDATE matches SET fate = 'updated' WHERE fate = 'unchanged'"

_DELETE_UPDATED = """
DELETE FROM warehouse.products
WHERE rowid IN (SELECT product_rowid FROM matches WHERE fate = 'updated')
"""

_INSERT = f"""
INSERT INTO warehouse.products
SELECT {COLUMN_LIST}, delivery_id, delivered_at, row_number
FROM latest
JOIN batch USING (delivery_number)
ANTI JOIN (FROM matches WHERE fate <> 'updated') AS kept USING (place)
"""

_GROWTH = """
SELECT (SELECT count(*) FROM latest) - (SELECT count(*) FROM matches)
"""

_KEEP_REJECTS = """
INSERT INTO warehouse.rejected_rows
SELECT delivery_id, row_number, byte_start, byte_end, reason, detail, raw
FROM arrived_rejects
JOIN batch USING (delivery_number)
"""


@dataclass(frozen=True)
class StagedDelivery:
    """A delivery as it comes to the merge.

    Attributes:
        delivery: what has arrived.
        reading: what was read of it, if it could be read.
        read_with: how it was read.
        refusal: why nothing of it is taken; None: its rows are.
    """

    delivery: Delivery
    reading: Reading | None
    read_with: Conditions
    refusal: str | None = None


def merge(
    connection: duckdb.DuckDBPyConnection,
    batch: Sequence[StagedDelivery],
    started: float,
    *,
    directly_loaded: bool = False,
) -> list[LedgerEntry]:
    """Merge a batch of arrivals into the attached warehouse, whole or not at all.

    Args:
        connection: to the workspace that holds the arrivals.
        batch: in the order of their numbers there, which is that of age.
        started: when the work on them was, by `time.perf_counter`.
        directly_loaded: whether the one delivery is in the warehouse already, by a direct load.

    Returns:
        Their accounts; of a delivery that had been merged before, the one in the ledger.

    Raises:
        WarehouseInconsistentError: a law would not hold. Nothing was changed.
    """
    deliveries = [arrived.delivery for arrived in batch]
    merged = _merged_before(connection, deliveries)
    if len(merged) == len(batch):
        return [merged[number] for number in range(len(batch))]
    if merged:
        for statement in _LEAVE_OUT:
            connection.execute(statement, {"numbers": list(merged)})
    fates = match(connection, deliveries)
    counted = [
        merged.get(number) or entry_of_staged(arrived, fates.get(number, RowCounts()), started)
        for number, arrived in enumerate(batch)
    ]
    new = [number for number in range(len(batch)) if number not in merged]
    with_account = [(deliveries[number], counted[number]) for number in new]
    before, growth = product_count(connection), _growth(connection)
    counts_change = any(account.rows.inserted + account.rows.updated for _, account in with_account)
    if counts_change:
        find_changed_names(connection)
    writes_rows = counts_change
    if (
        not directly_loaded
        and sum(account.rows.unchanged for _, account in with_account) > MAX_MOVED
    ):
        connection.execute(_REWRITE_ALL)
        writes_rows = True
    with transaction(connection):
        if directly_loaded:
            swap_in_loaded_table(connection)
        else:
            connection.execute(_MOVE_UNCHANGED)
            if writes_rows:
                connection.execute(_DELETE_UPDATED)
                connection.execute(_INSERT)
        if counts_change:
            apply_changed_names(connection)
        ids = [delivery.delivery_id for delivery, _ in with_account]
        delete_rejects(connection, ids)
        connection.execute(_KEEP_REJECTS)
        record(connection, with_account)
        if product_count(connection) != before + growth:
            msg = f"{', '.join(ids)}: the number of products did not grow by the new skus."
            raise WarehouseInconsistentError(msg)
    return counted


def _merged_before(
    connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Delivery]
) -> dict[int, LedgerEntry]:
    known = entries(connection, [delivery.delivery_id for delivery in deliveries])
    found = {number: known.get(delivery.delivery_id) for number, delivery in enumerate(deliveries)}
    return {
        number: account
        for number, account in found.items()
        if account is not None and account.status is Status.MERGED
    }


def _growth(connection: duckdb.DuckDBPyConnection) -> int:
    """By how many new skus the products will grow."""
    return int(connection.execute(_GROWTH).fetchall()[0][0])


def entry_of_staged(arrived: StagedDelivery, fates: RowCounts, started: float) -> LedgerEntry:
    """The account of a delivery, in which every row has a fate and skipped lines are counted."""
    delivery_id, reading = arrived.delivery.delivery_id, arrived.reading
    if reading is None or arrived.refusal is not None:
        return LedgerEntry(
            delivery_id, Status.REFUSED, error=arrived.refusal, notes=_notes(reading)
        )
    account = LedgerEntry(
        delivery_id=delivery_id,
        status=Status.MERGED,
        merged_at=utc_now(),
        rows=replace(
            fates,
            read=reading.rows_read,
            superseded=reading.rows_superseded,
            rejected=reading.rows_rejected,
        ),
        read_with=arrived.read_with.digest,
        read_conditions=arrived.read_with.text,
        seconds=time.perf_counter() - started,
        blank_lines=reading.skipped.blank,
        repeated_headers=reading.skipped.repeated_headers,
        lines_above_header=reading.skipped.above_header,
        notes=_notes(reading),
    )
    if account.rows.accounted != account.rows.read:
        msg = (
            f"{delivery_id}: {account.rows.read} rows were read, but "
            f"{account.rows.accounted} accounted for."
        )
        raise WarehouseInconsistentError(msg)
    return account


def _notes(reading: Reading | None) -> str | None:
    """Return the notes of a reading, a line each; None if there are none.

    A note may quote the file. A character that cannot be printed would end the line, hide the rest
    in a terminal, or be no text for the database.
    """
    if reading is None or not reading.notes:
        return None
    return "\n".join(map(printable, reading.notes))


def record_unmerged(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, status: Status, error: str
) -> LedgerEntry:
    """Write the ledger row of a delivery of which nothing was taken; keep one that was merged."""
    known = entry_of(connection, delivery)
    if known is not None and known.status is Status.MERGED:
        return known
    account = unmerged_entry(delivery.delivery_id, status, error, known)
    with transaction(connection):
        delete_rejects(connection, [delivery.delivery_id])
        record(connection, [(delivery, account)])
    return account
