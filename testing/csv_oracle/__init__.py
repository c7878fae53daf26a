"""A second reader of dirty CSV, slow and plain: no DuckDB, no regular expressions, no product code.

`cells` cuts bytes into cells, `records` tells good records from rejects, `contents` applies the row
rules. Tests compare the real reader with what these find.
"""
