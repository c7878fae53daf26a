"""Small tools that know nothing of products: files, processes, text and DuckDB."""
