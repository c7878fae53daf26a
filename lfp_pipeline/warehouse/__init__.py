"""The warehouse: its tables, the merge into them, and their single writer."""
