"""What a history has left: the rows of a database, and the marks of a raw zone."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.model.partition_key import PURGES
from testing.engine import TABLES
from testing.raw_folder import EPOCH, ids_with
from verification.histories.folder_state import Marks, Tables
from verification.histories.rules import Rules

_QUERIES = {name: TABLES[name] for name in ("products", "name_counts")} | {
    "deletions": "SELECT sku, delivery_id, delivered_at FROM deletions",
    "ledger": """
        SELECT delivery_id, status, delivered_at, rows_read, rows_superseded, rows_rejected,
            rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded
                - rows_stale - rows_rejected - rows_deleted AS missing,
            blank_lines >= 0 AND repeated_headers >= 0 AND lines_above_header >= 0 AS counted
        FROM deliveries
    """,
    "rejected_rows": "SELECT delivery_id, row_number FROM rejected_rows",
    "recorded": """
        SELECT delivery_id, read_conditions FROM deliveries WHERE read_conditions IS NOT NULL
    """,
}

_TABLE_COUNT = """
SELECT count(*) FROM information_schema.tables
WHERE table_catalog = 'observed' AND table_schema = 'main'
"""


class TableReader:
    """Reads databases over one connection of its own: connecting takes long."""

    def __init__(self) -> None:
        self._connection = self._connect()

    def tables(self, engine: Engine, *options: str) -> Tables:
        """Return all tables, sorted; empty ones where there are none.

        Args:
            options: of the attached database.
        """
        place, connection = self._place(engine), self._connection
        if place is None:
            return {name: [] for name in _QUERIES}
        connection.execute(f"ATTACH '{place}' AS observed ({', '.join(['READ_ONLY', *options])})")
        try:
            connection.execute("USE observed.main")
            connection.begin()  # All rows are of one snapshot.
            # A process that is killed before it makes the tables leaves a database without any.
            (count,) = connection.execute(_TABLE_COUNT).fetchall()[0]
            found = {
                name: sorted(connection.execute(sql).fetchall()) if count else []
                for name, sql in _QUERIES.items()
            }
            connection.commit()
            found["recorded"] = [(id_, Rules.recorded(text)) for id_, text in found["recorded"]]
            return found
        finally:
            connection.execute("USE memory")
            connection.execute("DETACH observed")

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(config={"threads": 1})

    def _place(self, engine: Engine) -> str | None:
        """Return what to attach; None: there is no database."""
        path = engine.warehouse.path
        return str(path) if path.exists() else None


def marks_in(raw: Path) -> Marks:
    """Return the marks in the folder of a raw zone, by the names and records of its files."""
    landed, reverted, pruned, bytes_kept = (
        set(ids_with(raw, suffix)) for suffix in (".json", ".reverted", ".pruned", ".raw")
    )
    assert landed <= bytes_kept | pruned
    stated = stated_in(path.read_bytes() for path in raw.glob("*/[!.]*.json"))
    return Marks(landed, reverted, pruned, stated)


def stated_in(records: Iterable[bytes]) -> dict[str, int]:
    """Return the times that the sources of files stated, by the records of all deliveries."""
    found = map(json.loads, records)
    return {
        record["delivery_id"]: (
            datetime.fromisoformat(record.get("stated_at", record["delivered_at"])) - EPOCH
        )
        // timedelta(microseconds=1)
        for record in found
        if record["partition_key"] != PURGES
    }
