"""pandas reads the file and picks the winners, `to_sql` upserts them into SQLite.

pandas has no upsert; its documented way is an insertion method of one's own for `to_sql`. Replacing
the table instead (`if_exists="replace"`, as is often seen) is right only while every file holds all
products. The file is read with pandas' own reader: the one that uses pyarrow refuses line breaks in
values. Strings are Arrow's. Winners are inserted in the order of their skus, which spares SQLite
random places in the index. `to_sql` commits by itself, so the counts are a second transaction.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.peers.sqlite_store import UPSERT, SqlitePeer, count_names, transaction


def _upsert(
    table: Any,  # noqa: ANN401 (a class that pandas does not export)
    cursor: sqlite3.Cursor,
    columns: list[str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    del table, columns
    cursor.executemany(UPSERT, rows)


class Tool(SqlitePeer):
    """pandas for reading, SQLite for storing."""

    title = "pandas + SQLite, to_sql with upsert"

    @classmethod
    def versions(cls) -> str:
        return f"pandas {pd.__version__}, pyarrow {pa.__version__}, SQLite {sqlite3.sqlite_version}"

    def load(self, csv_file: Path) -> None:
        with self.phase("reading"):
            rows = pd.read_csv(csv_file, dtype=str, keep_default_na=False)
        with self.phase("picking winners"):
            winners = rows.drop_duplicates("sku", keep="last").sort_values("sku")
            winners = winners[["name", "sku", "description"]]
            del rows
        with transaction(self.folder) as connection:
            with self.phase("writing"):
                winners.to_sql(
                    "products", connection, if_exists="append", index=False, method=_upsert
                )
            with self.phase("counting"):
                count_names(connection)
