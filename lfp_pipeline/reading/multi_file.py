"""Deliveries of several texts: the rows and rejects of all texts, concatenated.

Each text is read into `rows`, `rejects` and `excluded` as if it were alone. Its rows and rejects
then move to separate tables, with consecutive numbers. In the end, these tables replace the others.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import detect_dialect
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.text_reader import TextRead, read_text
from lfp_pipeline.reading.unpacking import TimeLimit

MAX_COLUMNS_OF_MEMBERS = 100_000
"""Most columns that the headers of the members of one zip may name together."""

_TABLES = ("rows", "rejects", "excluded")

_CREATE = f"""
{CREATE_REJECTS};
CREATE TABLE gathered_rejects AS FROM rejects;
CREATE TABLE gathered_excluded AS FROM excluded;
CREATE TABLE gathered_rows (sku VARCHAR, name VARCHAR, description VARCHAR)
"""

_APPEND_REJECTS = """
INSERT INTO gathered_rejects
SELECT
    row_number + $rows, byte_start + $bytes, byte_end + $bytes, reason,
    concat_ws(': ', 'in ' || $name, nullif(detail, '')), raw
FROM rejects
"""

_APPEND_EXCLUDED = "INSERT INTO gathered_excluded SELECT row_number + $rows FROM excluded"

_APPEND_ROWS = "INSERT INTO gathered_rows SELECT sku, name, description FROM rows"

_COUNTS = "SELECT (SELECT count(*) FROM gathered_rows), (SELECT count(*) FROM gathered_rejects)"


@contextmanager
def _gathering(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Create the tables to append to; after the block, they replace those of the reader."""
    try:
        connection.execute(_CREATE)
        yield
        for table in _TABLES:
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE gathered_{table} RENAME TO {table}")
    finally:
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS gathered_{table}")


def _append(
    connection: duckdb.DuckDBPyConnection, name: str, rows: int, start: int
) -> tuple[int, int]:
    """Append the text that was read after `rows` rows, at the byte offset `start`.

    Return the new number of rows, rejects included, and that of all rejects.
    """
    connection.execute(_APPEND_REJECTS, {"rows": rows, "bytes": start, "name": name})
    connection.execute(_APPEND_EXCLUDED, {"rows": rows})
    connection.execute(_APPEND_ROWS)
    all_rows, rejects = connection.execute(_COUNTS).fetchall()[0]
    return all_rows, rejects


def read_several(
    connection: duckdb.DuckDBPyConnection,
    texts: Sequence[PlainText],
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
) -> list[TextRead]:
    """Read several texts, each by itself, so that damage in one cannot swallow rows of the next.

    Raises:
        DeliveryRefusedError: a text is refused, or all of them have too many columns.
        ReadingTimeoutError: reading takes longer than the options allow.
    """
    limit = TimeLimit(options.max_archive_seconds)
    _check_columns(texts, options, limit)
    read: list[TextRead] = []
    size_bytes = sum(text.path.stat().st_size for text in texts)
    rows = rejects = start = 0
    with _gathering(connection):
        for text in texts:
            limit.check()
            others_bytes = size_bytes - text.path.stat().st_size
            of_others = RejectLimit(options.max_reject_share, others_bytes, found=rejects)
            with TemporaryDirectory(dir=folder) as own:
                text_read = read_text(connection, text, Path(own), options, log, of_others)
            rows, rejects = _append(connection, text.name, rows, start)
            start += text_read.size_bytes
            read.append(text_read)
    return read


def _check_columns(texts: Sequence[PlainText], options: ReadOptions, limit: TimeLimit) -> None:
    """Refuse texts with too many columns: a query with thousands of columns takes a second."""
    columns = 0
    for text in texts:
        limit.check()
        with suppress(DeliveryRefusedError):  # The reading of the text reports the reason.
            dialect = detect_dialect(text.head, text.mark_length, text.delimiter, options)
            columns += len(dialect.columns.header)
        if columns > MAX_COLUMNS_OF_MEMBERS:
            msg = (
                f"The files in the zip have more than {MAX_COLUMNS_OF_MEMBERS:,} columns in all. "
                "Deliver them in several zips."
            )
            raise DeliveryRefusedError(msg)
