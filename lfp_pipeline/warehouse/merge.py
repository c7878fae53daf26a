"""The merge: a batch of deliveries goes into `products`, its counts and the ledger, all at once.

Of all rows of a sku that were ever delivered, the one with the greatest (delivered_at, delivery_id,
row_number) wins, in whichever order deliveries are merged. The reading has chosen the winners
within each delivery, so the merge compares whole deliveries (`matching`).
"""

import time
from collections.abc import Collection, Sequence
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
from lfp_pipeline.reading.staging import unstage
from lfp_pipeline.warehouse.delta_load import KeptRows, move_kept, require_winners
from lfp_pipeline.warehouse.direct_load import swap_in_loaded_table
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import delete_rejects, entries, entry_of, record
from lfp_pipeline.warehouse.matching import match, stretches_of_unchanged
from lfp_pipeline.warehouse.name_counts import (
    apply_changed_names,
    find_changed_names,
    recount_names,
)
from lfp_pipeline.warehouse.schema import is_lake

# Of unchanged rows, only the numbers change: an update of two narrow columns in place costs a
# hundredth of new rows. For rows with another text, deleting and inserting is cheaper.
_MOVE_UNCHANGED = """
UPDATE warehouse.product_rows AS product
SET ledger_number = moved.ledger_number, row_number = moved.row_number
FROM (
    SELECT product_rowid, ledger_number, row_number
    FROM matches
    JOIN latest USING (place)
    JOIN batch USING (delivery_number)
    JOIN warehouse.deliveries USING (delivery_id)
    WHERE fate = 'unchanged' AND product_rowid BETWEEN $first AND $last
) AS moved
WHERE product.rowid = moved.product_rowid AND product.rowid BETWEEN $first AND $last
"""

_DELETE_UPDATED = """
DELETE FROM warehouse.product_rows
WHERE rowid IN (SELECT product_rowid FROM matches WHERE fate = 'updated')
"""

_INSERT = f"""
INSERT INTO warehouse.product_rows
SELECT {COLUMN_LIST}, ledger_number, row_number
FROM latest
JOIN batch USING (delivery_number)
JOIN warehouse.deliveries USING (delivery_id)
ANTI JOIN (FROM matches WHERE fate <> 'updated') AS kept USING (place)
"""

_FATES = """
SELECT
    (SELECT count(*) FROM latest) - count(*),
    count(*) FILTER (fate = 'updated'),
    count(*) FILTER (fate = 'unchanged')
FROM matches
"""

_INSERT_REJECTS = """
INSERT INTO warehouse.rejected_rows
SELECT delivery_id, row_number, byte_start, byte_end, reason, detail, raw
FROM arrived_rejects
JOIN batch USING (delivery_number)
"""


@dataclass(frozen=True)
class StagedDelivery:
    """A delivery that is ready for the merge; the workspace holds its rows.

    Attributes:
        reading: the result of reading it, if it could be read.
        read_with: the conditions of that reading.
        refusal: why none of its rows is merged; None: they are.
    """

    delivery: Delivery
    reading: Reading | None
    read_with: Conditions
    refusal: str | None = None


@dataclass(frozen=True)
class _Change:
    """The change of `products` by a merge, in rows.

    Attributes:
        before: the products before it.
        replaced: products that are deleted and inserted again.
        of_texts: whether any text changes.
    """

    before: int
    inserted: int
    replaced: int
    of_texts: bool


def merge(
    connection: duckdb.DuckDBPyConnection,
    batch: Sequence[StagedDelivery],
    started: float,
    *,
    directly_loaded: bool = False,
    kept: KeptRows | None = None,
) -> list[LedgerEntry]:
    """Merge a batch into the attached warehouse, whole or not at all.

    The deliveries are in the order of their numbers in the workspace, which is their order in time;
    none is there twice.
    Work on them began at `started`, by `time.perf_counter`. If `directly_loaded`, a direct load has
    read the only delivery; so has a delta load if there are `kept` products. Return the ledger
    entries; of a delivery that had been merged before, the existing one.

    Raises:
        WarehouseInconsistentError: an invariant would break. Nothing was changed.
    """
    deliveries = [staged.delivery for staged in batch]
    ids = [delivery.delivery_id for delivery in deliveries]
    # In a lake, each transaction looks up the newest snapshot.
    with transaction(connection):
        known = entries(connection, ids)
        merged = {id_: entry for id_, entry in known.items() if entry.status is Status.MERGED}
        if len(merged) == len(batch):
            return [merged[id_] for id_ in ids]
        if merged:
            numbers = [number for number, id_ in enumerate(ids) if id_ in merged]
            unstage(connection, numbers)
        counts = match(connection, deliveries, has_known=kept is not None)
        if kept is not None:
            rows = counts.get(0, RowCounts())
            counts[0] = replace(rows, unchanged=rows.unchanged + kept.winners)
        new = [
            (staged.delivery, entry_of_staged(staged, counts.get(number, RowCounts()), started))
            for number, staged in enumerate(batch)
            if ids[number] not in merged
        ]
        change = _planned_change(connection, directly_loaded=directly_loaded)
    _write(connection, new, known, change, directly_loaded=directly_loaded, kept=kept)
    entry_of = merged | {entry.delivery_id: entry for _, entry in new}
    return [entry_of[id_] for id_ in ids]


def _planned_change(connection: duckdb.DuckDBPyConnection, *, directly_loaded: bool) -> _Change:
    """Return the change by the matched rows, and prepare it in the workspace."""
    inserted, updated, unchanged = connection.execute(_FATES).fetchall()[0]
    before = product_count(connection)
    if before and (inserted or updated):
        find_changed_names(connection)
    # A lake updates a row by deleting it and inserting it again.
    if not directly_loaded and is_lake(connection):
        connection.execute("UPDATE matches SET fate = 'updated' WHERE fate = 'unchanged'")
        return _Change(before, inserted, updated + unchanged, bool(inserted or updated))
    return _Change(before, inserted, updated, bool(inserted or updated))


def _write(
    connection: duckdb.DuckDBPyConnection,
    new: Sequence[tuple[Delivery, LedgerEntry]],
    known: Collection[str],
    change: _Change,
    *,
    directly_loaded: bool,
    kept: KeptRows | None,
) -> None:
    """Write the matched rows, the counts of names, the rejects and the entries of deliveries.

    Args:
        known: the deliveries that the ledger has.
    """
    after = change.before + change.inserted
    with transaction(connection):
        record(connection, new)
        if directly_loaded:
            swap_in_loaded_table(connection)
        else:
            _write_products(connection, new, change, kept)
        if change.of_texts and change.before:
            apply_changed_names(connection, after)
        elif change.of_texts:
            recount_names(connection)
        ids = [delivery.delivery_id for delivery, _ in new]
        if known:
            delete_rejects(connection, ids)
        connection.execute(_INSERT_REJECTS)
        if product_count(connection) != after:
            msg = f"{', '.join(ids)}: the number of products did not grow by the new skus."
            raise WarehouseInconsistentError(msg)
        if kept is not None:
            require_winners(connection, *new[0])


def _write_products(
    connection: duckdb.DuckDBPyConnection,
    new: Sequence[tuple[Delivery, LedgerEntry]],
    change: _Change,
    kept: KeptRows | None,
) -> None:
    # Products are deleted first: in a lake, an update gives them other rowids.
    if change.replaced:
        connection.execute(_DELETE_UPDATED)
    if kept is not None:
        ((delivery, _),) = new
        move_kept(connection, kept, delivery)
    for first, last in stretches_of_unchanged(connection):
        connection.execute(_MOVE_UNCHANGED, {"first": first, "last": last})
    if change.inserted or change.replaced:
        connection.execute(_INSERT)


def entry_of_staged(staged: StagedDelivery, counts: RowCounts, started: float) -> LedgerEntry:
    """Return the ledger entry of a staged delivery, whose rows have these counts by fate.

    Work on the delivery began at `started`, by `time.perf_counter`.

    Raises:
        WarehouseInconsistentError: not every row has exactly one fate.
    """
    delivery_id, reading = staged.delivery.delivery_id, staged.reading
    if reading is None or staged.refusal is not None:
        return LedgerEntry(delivery_id, Status.REFUSED, error=staged.refusal, notes=_notes(reading))
    rows = replace(
        counts,
        read=reading.rows_read,
        superseded=reading.rows_superseded,
        rejected=reading.rows_rejected,
    )
    if rows.accounted != rows.read:
        msg = f"{delivery_id}: {rows.read} rows were read, but {rows.accounted} accounted for."
        raise WarehouseInconsistentError(msg)
    return LedgerEntry(
        delivery_id=delivery_id,
        status=Status.MERGED,
        merged_at=utc_now(),
        rows=rows,
        read_with=staged.read_with.digest,
        read_conditions=staged.read_with.text,
        seconds=time.perf_counter() - started,
        blank_lines=reading.skipped.blank,
        repeated_headers=reading.skipped.repeated_headers,
        lines_above_header=reading.skipped.above_header,
        notes=_notes(reading),
        is_regular=reading.is_regular,
    )


def _notes(reading: Reading | None) -> str | None:
    """Return the notes of a reading, a line each; None if there are none.

    A note may quote the file. A character that cannot be printed would end the line, hide the rest
    in a terminal, or be invalid text for the database.
    """
    if reading is None or not reading.notes:
        return None
    return "\n".join(map(printable, reading.notes))


def record_unmerged(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, status: Status, error: str
) -> LedgerEntry:
    """Write the ledger entry of a delivery that was not merged, unless it had been before."""
    known = entry_of(connection, delivery)
    if known is not None and known.status is Status.MERGED:
        return known
    entry = unmerged_entry(delivery.delivery_id, status, error, known)
    with transaction(connection):
        delete_rejects(connection, [delivery.delivery_id])
        record(connection, [(delivery, entry)])
    return entry
