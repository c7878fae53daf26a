"""polars reads the file and picks the winners, DuckDB stores them: written by hand, in few lines.

Both use all cores. The winners pass as Arrow, without a copy. There is no key: known skus are
deleted and all winners inserted, in one transaction, which is cheaper than `ON CONFLICT` with an
index.
"""

from pathlib import Path

import duckdb
import polars as pl

from benchmarks.peers.peer import DuckDBPeer

_COLUMNS = {"name": pl.String, "sku": pl.String, "description": pl.String}

_TABLES = """
CREATE TABLE IF NOT EXISTS products (sku VARCHAR, name VARCHAR, description VARCHAR);
CREATE TABLE IF NOT EXISTS name_counts (name VARCHAR, no_of_products BIGINT);
"""

_UPSERT = """
DELETE FROM products WHERE sku IN (SELECT sku FROM winners);
INSERT INTO products SELECT sku, name, description FROM winners;
"""

_COUNT = """
DELETE FROM name_counts;
INSERT INTO name_counts SELECT name, count(*) FROM products GROUP BY name;
"""


class Tool(DuckDBPeer):
    """polars for reading, DuckDB for storing."""

    title = "polars + DuckDB, by hand"

    @classmethod
    def versions(cls) -> str:
        return f"polars {pl.__version__}, DuckDB {duckdb.__version__}"

    def load(self, csv_file: Path) -> None:
        with self.phase("reading"):
            rows = pl.read_csv(csv_file, schema_overrides=_COLUMNS)
        with self.phase("picking winners"):
            winners = rows.unique("sku", keep="last", maintain_order=False).to_arrow()
            del rows
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("SET enable_progress_bar = false")
            connection.execute(_TABLES)
            connection.register("winners", winners)
            connection.begin()
            with self.phase("writing"):
                connection.execute(_UPSERT)
            with self.phase("counting"):
                connection.execute(_COUNT)
            with self.phase("writing"):
                connection.commit()
