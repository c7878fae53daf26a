"""What is asked of DuckDB's CSV reader: the rows of a file, and which need a second look."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.model.table_spec import COLUMN_LIST, PRODUCT_COLUMNS
from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.rules import IRREGULAR, RowRules, blank_row, without_null_tokens

UNREADABLE = (
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.NotImplementedException,  # Where a thread does not find the begin of a record.
)
"""What such a query raises where the file is to be read with more care."""

_BUFFERED_RECORDS = 4
"""Of the longest, so many fit into what a thread reads at a time.

DuckDB's own choice, 16, is too much to divide a file of 90 MB evenly between two threads.
"""

# Every column is looked at, also those that are not taken: DuckDB checks only what it is asked for,
# and 1.5 fails on objections to other columns.
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


@dataclass(frozen=True)
class Scan:
    """A query that reads a file, in order.

    Its columns: sku, name, description; `text_bytes`, the size of all values of the row;
    `irregular`, of a row that may be one to trim, to skip or to reject; `blank`, of an irregular
    row in which no column holds anything but white space.

    Attributes:
        sql: the query.
        parameters: what is bound to it.
    """

    sql: str
    parameters: dict[str, Any]


def scan_of(
    path: Path, dialect: Dialect, rules: RowRules, *, copy: bool = False, max_objections: int = 0
) -> Scan:
    """The query that reads a file of UTF-8.

    Args:
        path: the file.
        dialect: how it is written.
        rules: for its rows.
        copy: whether it is a repaired copy, which has a header of its own in its first line.
        max_objections: so many records that DuckDB cannot read are left out and kept in
            `reject_errors`; with 0, the query fails at the first. Without objections the file is
            read in parallel: then, seldom, a text with line breaks that looks like a record
            becomes one, where a thread begins in its middle. Bytes do not add up then.
    """
    form = dialect.form
    # A record of a file has its line end among its bytes. A copy may add one.
    longest = form.max_bytes - len(form.newline)
    if copy:
        longest = max(form.max_bytes + len(form.newline), _placeholder_bytes(form.width))
    columns = [f"c{index}" for index in range(form.width)]
    text_bytes = [f"strlen({column})" for column in columns]
    if form.last_empty:
        text_bytes[-1] = _NO_SURPLUS.format(columns[-1])
    positions = dialect.columns.positions
    values = [
        f"{_value(columns[positions[name]], dialect, rules)} AS {name}" for name in PRODUCT_COLUMNS
    ]
    tokens = {"null_tokens": rules.null_token_lines} if rules.null_tokens else {}
    return Scan(
        sql=_SCAN.format(
            names=COLUMN_LIST,
            columns=", ".join(columns),
            values=", ".join(values),
            text_bytes=_sum(text_bytes),
            irregular=IRREGULAR,
            is_blank=blank_row(columns),
        ),
        parameters=rules.parameters
        | tokens
        | {
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
        },
    )


def _placeholder_bytes(width: int) -> int:
    """The size of a placeholder for a bad record, and of a copy's header, at most."""
    return 100 + width * len(f"c{width},")


def _sum(terms: Sequence[str]) -> str:
    """The sum of some terms, in SQL: a tree, as DuckDB refuses a nesting of a thousand."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def _value(column: str, dialect: Dialect, rules: RowRules) -> str:
    if dialect.form.backslash:  # A copy has "" for \" already.
        column = f"replace({column}, '\\\\', '\\')"
    return without_null_tokens(column) if rules.null_tokens else column
