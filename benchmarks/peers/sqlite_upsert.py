"""Python's csv and sqlite3: every row upserted in the order of the file, so the last one wins.

`executemany` with a reader keeps the loop in C, and needs next to no memory.
"""

import csv
import sqlite3
from pathlib import Path

from benchmarks.peers.sqlite_store import UPSERT, SqlitePeer, count_names, transaction


class Tool(SqlitePeer):
    """The standard library alone."""

    title = "Python csv + SQLite, ON CONFLICT"

    @classmethod
    def versions(cls) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def load(self, csv_file: Path) -> None:
        with (
            transaction(self.folder) as connection,
            csv_file.open(encoding="utf-8", newline="") as file,
        ):
            rows = csv.reader(file)
            next(rows)
            with self.phase("reading and writing"):
                connection.executemany(UPSERT, rows)
            with self.phase("counting"):
                count_names(connection)
