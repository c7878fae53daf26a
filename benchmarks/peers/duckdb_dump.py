"""The tables of a DuckDB file as CSV."""

from pathlib import Path

import duckdb


def dump_duckdb(database: Path, schema: str, products_csv: Path, counts_csv: Path) -> None:
    """Write `products` and `name_counts` of a schema."""
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        for columns, table, csv in (
            ("sku, name, description", "products", products_csv),
            ("name, no_of_products", "name_counts", counts_csv),
        ):
            query = f"SELECT {columns} FROM {schema}.{table}"
            connection.execute(f"COPY ({query}) TO '{csv}' (HEADER, DELIMITER ',')")
