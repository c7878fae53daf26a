"""What is asked of DuckDB's CSV reader: the rows of a file, and which need a second look."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.reading.dialect import Dialect
from lfp_pipeline.reading.records import BLANK_LINES_OF_A_RUN, MAX_RECORD_BYTES
from lfp_pipeline.reading.rules import IRREGULAR, PADDING, RowRules

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

# Every column is looked at, also those that are not taken in: what DuckDB is not asked for, it does
# not check, and 1.5 fails on objections to it. They are put together once: with two thousand of
# them, DuckDB takes long to find out by itself that what it is told twice is the same.
_SCAN = """
SELECT *, {irregular} AS irregular
FROM (
    SELECT
        {sku} AS sku, {name} AS name, {description} AS description,
        strlen(whole) - strlen(replace(whole, $line_break, '')) AS line_breaks,
        {misread} AS misread
    FROM (
        SELECT *, concat({columns}) AS whole
        FROM read_csv(
            $path,
            auto_detect = false,
            header = true,
            delim = $delimiter,
            quote = '"',
            escape = '"',
            columns = $columns,
            force_not_null = $not_null,
            max_line_size = $max_line_size,
            buffer_size = $buffer_size,
            parallel = $parallel,
            store_rejects = $keep_objections,
            rejects_limit = $max_objections
        )
    )
)
"""

# After two spaces, DuckDB takes a quote for a plain character. Few values begin so, and only those
# cost the pattern.
_BEGINS_WITH_SPACES = "({0} >= '  ' AND {0} < '  #')"
_MISREAD = "CASE WHEN {0} THEN {1} ELSE false END"
_QUOTE_AFTER_SPACES = "regexp_matches({0}, '^  +\"')"


@dataclass(frozen=True)
class Scan:
    """A query that reads a file, in order.

    Its columns: sku, name, description; `line_breaks` within the values of the row; `misread`, of a
    quote that DuckDB did not understand; `irregular`, of a row that may be one to trim or reject.

    Attributes:
        sql: the query.
        parameters: what is bound to it.
    """

    sql: str
    parameters: dict[str, Any]


def scan_of(path: Path, dialect: Dialect, rules: RowRules, max_objections: int = 0) -> Scan:
    """The query that reads a file of UTF-8.

    Args:
        path: the file.
        dialect: how it is written.
        rules: for its rows.
        max_objections: so many records that DuckDB cannot read are left out and kept in
            `reject_errors`; with 0, the query fails at the first. Without objections the file is
            read in parallel: then, seldom, a text with line breaks that looks like a record
            becomes one, where a thread begins in its middle. Lines do not add up then.
    """
    columns = [f"c{index}" for index in range(len(dialect.columns.header))]
    wanted = {column: columns[index] for column, index in dialect.columns.positions.items()}
    begins = " OR ".join(map(_BEGINS_WITH_SPACES.format, columns))
    quoted = " OR ".join(map(_QUOTE_AFTER_SPACES.format, columns))
    return Scan(
        sql=_SCAN.format(
            **wanted,
            columns=", ".join(columns),
            misread=_MISREAD.format(begins, quoted),
            irregular=IRREGULAR,
        ),
        parameters=PADDING
        | rules.parameters
        | {
            "path": str(path),
            "delimiter": dialect.delimiter,
            "line_break": dialect.newline[-1:].decode(),
            "columns": dict.fromkeys(columns, "VARCHAR"),
            "not_null": columns,
            "max_line_size": MAX_RECORD_BYTES + (2 * BLANK_LINES_OF_A_RUN if max_objections else 0),
            "buffer_size": _BUFFERED_RECORDS * MAX_RECORD_BYTES,
            "parallel": not max_objections,
            "keep_objections": max_objections > 0,
            "max_objections": max_objections,
        },
    )
