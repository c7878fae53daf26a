"""The ledger: what became of each delivery, and what operators have done.

The table `deliveries` has one row for each delivery, also for an operation on a single delivery.
Each has a number of its own, which the rows of its products have.
The table `operations` has one row for each operation on the warehouse as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import ROW_COLUMNS, STATUSES, LedgerEntry, RowCounts, Status

_OF_DELIVERIES = "WHERE delivery_id IN (SELECT unnest($delivery_ids::VARCHAR[]))"

_OF_PARTITIONS = "WHERE partition_key IN (SELECT unnest($partition_keys::VARCHAR[]))"

_DELETE = f"DELETE FROM warehouse.deliveries {_OF_DELIVERIES}"

_INSERT = """
INSERT INTO warehouse.deliveries BY NAME
SELECT unnest(entry) FROM (SELECT unnest($entries) AS entry)
"""

_PRESENT = f"""
SELECT delivery_id, ledger_number, attempts FROM warehouse.deliveries {_OF_DELIVERIES}
"""

_LAST_NUMBER = "SELECT coalesce(max(ledger_number), 0) FROM warehouse.deliveries"

_EXCHANGE_NUMBERS = f"""
UPDATE warehouse.deliveries SET ledger_number = (
    SELECT sum(ledger_number) FROM warehouse.deliveries {_OF_DELIVERIES}
) - ledger_number
{_OF_DELIVERIES}
"""

# One text for each status, because fetching all rows takes much longer. No id has a line end.
_STATUSES = """
SELECT status, string_agg(delivery_id, chr(10)) FROM warehouse.deliveries {where} GROUP BY status
"""

_ENTRIES = f"""
SELECT {", ".join(ROW_COLUMNS)}, delivery_id, status, merged_at, error, read_with, seconds,
    blank_lines, repeated_headers, lines_above_header, notes, read_conditions, is_regular
FROM warehouse.deliveries
"""

# Only of a delivery that holds no product and no deletion.
_MARK_UNMERGED = f"""
UPDATE warehouse.deliveries
SET
    status = 'failed', error = $why, attempts = attempts + 1, merged_at = NULL,
    {", ".join(f"{column} = 0" for column in ROW_COLUMNS)},
    blank_lines = 0, repeated_headers = 0, lines_above_header = 0, notes = NULL,
    read_with = NULL, read_conditions = NULL, is_regular = NULL
WHERE delivery_id = $delivery_id
    AND ledger_number NOT IN (SELECT ledger_number FROM warehouse.product_rows)
    AND delivery_id NOT IN (SELECT delivery_id FROM warehouse.deletions)
"""

_CLEAR_CONDITIONS = """
UPDATE warehouse.deliveries SET read_with = NULL, read_conditions = NULL
WHERE delivery_id = $delivery_id AND status <> 'merged'
"""


def record(
    connection: duckdb.DuckDBPyConnection, recorded: Sequence[tuple[Delivery, LedgerEntry]]
) -> None:
    """Write the entries of some deliveries, in place of earlier ones, whose numbers they get."""
    ids = [delivery.delivery_id for delivery, _ in recorded]
    present = _present(connection, ids)
    numbers = _numbers(connection, ids, present)
    if present:
        connection.execute(_DELETE, {"delivery_ids": list(present)})
    rows = []
    for delivery, entry in recorded:
        _, attempts = present.get(delivery.delivery_id, (0, 0))
        number = numbers[delivery.delivery_id]
        rows.append(_row_of(delivery, entry) | {"ledger_number": number, "attempts": attempts + 1})
    connection.execute(_INSERT, {"entries": rows})


def ledger_number(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> int:
    """Return the number that the entry of a delivery has, or will get if it is recorded next."""
    ids = [delivery.delivery_id]
    return _numbers(connection, ids, _present(connection, ids))[delivery.delivery_id]


def exchange_numbers(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> None:
    """Exchange the numbers of two entries: the rows of each move to the other delivery."""
    connection.execute(_EXCHANGE_NUMBERS, {"delivery_ids": [one, other]})


def _present(
    connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Return number and attempts of the entries of some deliveries."""
    found = connection.execute(_PRESENT, {"delivery_ids": delivery_ids}).fetchall()
    return {delivery_id: (number, attempts) for delivery_id, number, attempts in found}


def _numbers(
    connection: duckdb.DuckDBPyConnection,
    delivery_ids: Sequence[str],
    present: Mapping[str, tuple[int, int]],
) -> dict[str, int]:
    """Return the numbers of some deliveries: the present ones, and the next ones for the others."""
    (last,) = connection.execute(_LAST_NUMBER).fetchall()[0]
    new = (id_ for id_ in delivery_ids if id_ not in present)
    return {id_: number for id_, (number, _) in present.items()} | {
        id_: number for number, id_ in enumerate(new, last + 1)
    }


def delete_entries(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the entries and the rejects of some deliveries."""
    connection.execute(_DELETE, {"delivery_ids": delivery_ids})
    delete_rejects(connection, delivery_ids)


def delete_rejects(connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]) -> None:
    """Remove the rejects of some deliveries."""
    statement = f"DELETE FROM warehouse.rejected_rows {_OF_DELIVERIES}"
    connection.execute(statement, {"delivery_ids": delivery_ids})


def clear_conditions(connection: duckdb.DuckDBPyConnection, delivery_id: str) -> None:
    """Let the next merge of an unmerged delivery read its file with the settings of that time."""
    connection.execute(_CLEAR_CONDITIONS, {"delivery_id": delivery_id})


def mark_unmerged(connection: duckdb.DuckDBPyConnection, delivery_id: str, why: str) -> None:
    """Mark a delivery that holds no row as failed, so that it is merged when it lands again."""
    delete_rejects(connection, [delivery_id])
    connection.execute(_MARK_UNMERGED, {"delivery_id": delivery_id, "why": why})


def entries(
    connection: duckdb.DuckDBPyConnection, delivery_ids: Sequence[str]
) -> dict[str, LedgerEntry]:
    """Return the entries of some deliveries by delivery id, as far as there are any."""
    ids = {"delivery_ids": delivery_ids}
    return _entries_in(connection.execute(_ENTRIES + _OF_DELIVERIES, ids))


def entry_of(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> LedgerEntry | None:
    """Return the entry of a delivery; None where there is none."""
    return entries(connection, [delivery.delivery_id]).get(delivery.delivery_id)


def all_entries(connection: duckdb.DuckDBPyConnection) -> dict[str, LedgerEntry]:
    """Return the entries of all deliveries by delivery id."""
    return _entries_in(connection.execute(_ENTRIES))


def statuses(
    connection: duckdb.DuckDBPyConnection, partition_keys: Sequence[str] | None = None
) -> dict[str, Status]:
    """Return the statuses of all deliveries, or of those of some partitions, by delivery id."""
    if partition_keys is None:
        found = connection.execute(_STATUSES.format(where=""))
    else:
        keys = {"partition_keys": partition_keys}
        found = connection.execute(_STATUSES.format(where=_OF_PARTITIONS), keys)
    status_of: dict[str, Status] = {}
    for status, ids in found.fetchall():
        status_of |= dict.fromkeys(ids.split("\n"), STATUSES[status])
    return status_of


def write_count(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how often entries were written; every commit that writes one raises this number."""
    statement = "SELECT coalesce(sum(attempts), 0) FROM warehouse.deliveries"
    return int(connection.execute(statement).fetchall()[0][0])


def record_operation(
    connection: duckdb.DuckDBPyConnection, operation: str, started_at: datetime, summary: str
) -> None:
    """Write that an operation has ended, and what it has done."""
    row = [operation, started_at, utc_now(), summary]
    connection.execute("INSERT INTO warehouse.operations VALUES ($1, $2, $3, $4)", row)


def _row_of(delivery: Delivery, entry: LedgerEntry) -> dict[str, Any]:
    columns = asdict(entry)
    counts = {f"rows_{name}": number for name, number in columns.pop("rows").items()}
    return {
        **columns,
        **counts,
        "status": entry.status.value,
        "kind": delivery.kind.value,
        "partition_key": delivery.partition_key,
        "source": delivery.source,
        "sha256": delivery.sha256,
        "size_bytes": delivery.size_bytes,
        "delivered_at": delivery.delivered_at,
    }


def _entries_in(found: duckdb.DuckDBPyConnection) -> dict[str, LedgerEntry]:
    result = {}
    for row in found.fetchall():
        rows = RowCounts(*row[: len(ROW_COLUMNS)])
        delivery_id, status, merged_at, *others = row[len(ROW_COLUMNS) :]
        result[delivery_id] = LedgerEntry(delivery_id, Status(status), merged_at, rows, *others)
    return result
