"""Large product files into one exact `products` table: a Dagster project on DuckDB."""
