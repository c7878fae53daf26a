"""Reads some records of a text whose records are known, as a file of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.comparison import IndexedText
from lfp_pipeline.reading.loading import LOAD_ROWS, ROW_COUNTS, LoadedFile, load_plainly
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.rules import broken_rules, clean_values, skip_blank_rows, skip_headers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def load_records(
    connection: duckdb.DuckDBPyConnection,
    text: IndexedText,
    records: "Array",
    path: Path,
    options: ReadOptions,
    table: str,
) -> LoadedFile | None:
    """Load some records of a text, in ascending order, into a new table of the workspace.

    Args:
        path: of the new file of these records.

    Returns:
        None if DuckDB objects, or not all bytes are accounted for.
    """
    part = text.write_records(records, path)
    limit = RejectLimit(options.max_reject_share)
    load, counts = LOAD_ROWS.format(table=table, scan="{scan}"), ROW_COUNTS.format(table=table)
    return load_plainly(connection, part, text.dialect, options, limit, load, {}, counts)


def read_records(
    connection: duckdb.DuckDBPyConnection,
    text: IndexedText,
    records: "Array",
    options: ReadOptions,
    folder: Path,
) -> bool:
    """Read some records of a text into `rows`; return whether each of them is an accepted row.

    Otherwise the text has to be read in full.
    """
    loaded = load_records(connection, text, records, folder / "delta.csv", options, "rows")
    if loaded is None or loaded.empty_lines or loaded.has_bare_quotes:
        return False
    ((rows,),) = connection.execute("SELECT count(*) FROM rows").fetchall()
    if rows != len(records):
        return False
    connection.execute(CREATE_REJECTS)
    if loaded.regular:
        return True
    clean_values(connection, options)
    bare = loaded.dialect.form.bare_quotes
    try:
        skipped = skip_blank_rows(connection) + skip_headers(connection, options)
        return not (skipped or broken_rules(connection, options, loaded.limit, bare_quotes=bare))
    except DeliveryRefusedError:
        return False
