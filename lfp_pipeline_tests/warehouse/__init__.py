"""The warehouse: what must always hold, on real DuckDB files."""
