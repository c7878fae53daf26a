"""The warehouse: `products`, `name_counts`, the ledger, and the one writer at a time."""
