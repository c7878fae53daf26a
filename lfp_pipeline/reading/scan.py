"""The query for DuckDB's CSV reader: the rows of a file, and which of them are irregular."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.model.table_spec import COLUMN_LIST, PRODUCT_COLUMNS
from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.rules import (
    IRREGULAR,
    blank_row,
    irregular_parameters,
    null_token_lines,
    without_null_tokens,
)

UNREADABLE = (
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.NotImplementedException,  # A thread did not find the beginning of a record.
)
"""Errors of a scan that cannot read a file unchanged; the file then needs a repaired copy."""

_BUFFERED_RECORDS = 4
"""Number of longest records that fit into the buffer of a thread.

DuckDB's default of 16 is too large to divide a file of 90 MB evenly between two threads.
"""

# The query uses every column, even ignored ones: DuckDB checks only the columns of a query, and 1.5
# fails on objections to other columns.
_SCAN = """
SELECT
    {names}, text_bytes, irregular,
    CASE WHEN irregular THEN {is_blank} ELSE false END AS blank
FROM (
    SELECT *, {irregular} AS irregular
    FROM (
        SELECT
            {columns},
            {values},
            {text_bytes} AS text_bytes
        FROM read_csv(
            $path,
            auto_detect = false,
            skip = $lines_above,
            header = true,
            delim = $delimiter,
            quote = '"',
            escape = '"',
            columns = $columns,
            force_not_null = $not_null,
            null_padding = $null_padding,
            max_line_size = $max_line_size,
            buffer_size = $buffer_size,
            parallel = $parallel,
            store_rejects = $keep_objections,
            rejects_limit = $max_objections
        )
    )
)
"""

_NO_SURPLUS = "CASE WHEN {0} = '' THEN 0 ELSE error('a cell without a column') END"


def scan_of(
    path: Path,
    dialect: Dialect,
    options: ReadOptions,
    *,
    copy: bool = False,
    max_objections: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Return the query that reads a file in UTF-8, in order, and its parameters by name.

    Its columns: sku, name, description; `text_bytes`, the size of all values of the row;
    `irregular`, whether the row may need trimming, skipping or rejecting; `blank`, whether an
    irregular row has only white space in all columns.

    Of a repaired `copy`, the first line is the header. DuckDB leaves out `max_objections`
    unreadable records, and keeps them in `reject_errors`. With `max_objections` 0, the query fails
    at the first one, and reads in parallel. Then a thread that begins inside a text with line
    breaks may, rarely, take a line of the text for a record; the count of bytes shows that.
    """
    form = dialect.form
    # The line end of a record counts among its bytes. A copy may add one.
    longest = form.max_bytes - len(form.newline)
    if copy:
        # Most bytes of a placeholder, or of the header of the copy.
        placeholder = 100 + form.width * len(f"c{form.width},")
        longest = max(form.max_bytes + len(form.newline), placeholder)
    columns = [f"c{index}" for index in range(form.width)]
    text_bytes = [f"strlen({column})" for column in columns]
    if form.last_empty:
        text_bytes[-1] = _NO_SURPLUS.format(columns[-1])
    positions = dialect.columns.positions
    values = [
        f"{_value(columns[positions[name]], dialect, options)} AS {name}"
        for name in PRODUCT_COLUMNS
    ]
    scan = _SCAN.format(
        names=COLUMN_LIST,
        columns=", ".join(columns),
        values=", ".join(values),
        text_bytes=_sum(text_bytes),
        irregular=IRREGULAR,
        is_blank=blank_row(columns),
    )
    tokens = {"null_tokens": null_token_lines(options)} if options.null_tokens else {}
    return scan, irregular_parameters(options) | tokens | {
        "path": str(path),
        "lines_above": 0 if copy else dialect.lines_above,
        "delimiter": dialect.delimiter,
        "columns": dict.fromkeys(columns, "VARCHAR"),
        "not_null": columns,
        "null_padding": form.fewest < form.width,
        "max_line_size": longest,
        "buffer_size": _BUFFERED_RECORDS * max(longest, form.max_bytes),
        "parallel": not max_objections,
        "keep_objections": max_objections > 0,
        "max_objections": max_objections,
    }


def _sum(terms: Sequence[str]) -> str:
    """Return SQL for a sum, as a balanced tree: DuckDB refuses a nesting of a thousand."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def _value(column: str, dialect: Dialect, options: ReadOptions) -> str:
    """Return SQL for the value of a wanted column."""
    if dialect.form.backslash:  # The copy has replaced \" by "".
        column = f"replace({column}, '\\\\', '\\')"
    return without_null_tokens(column) if options.null_tokens else column
