"""Deliveries of several texts: the rows and rejects of all texts, concatenated.

Each text is read into `rows`, `rejects` and `excluded` as if it were alone. Its rows and rejects
then move to separate tables, with consecutive numbers. In the end, these tables replace the others.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


@dataclass
class Concatenation:
    """The texts that were read so far.

    Attributes:
        connection: to the workspace.
        rows: number of rows, rejects included; the next row has the number after it.
        rejects: number of the rejects.
        size_bytes: of the texts; the next text begins at this offset.
    """

    connection: duckdb.DuckDBPyConnection
    rows: int = 0
    rejects: int = 0
    size_bytes: int = 0

    def append(self, name: str, size_bytes: int) -> None:
        """Append the rows and rejects of the next text, which has so many bytes."""
        numbers = {"rows": self.rows}
        offsets = numbers | {"bytes": self.size_bytes, "name": name}
        self.connection.execute(_APPEND_REJECTS, offsets)
        self.connection.execute(_APPEND_EXCLUDED, numbers)
        self.connection.execute(_APPEND_ROWS)
        self.rows, self.rejects = self.connection.execute(_COUNTS).fetchall()[0]
        self.size_bytes += size_bytes


@contextmanager
def gathering(connection: duckdb.DuckDBPyConnection) -> Iterator[Concatenation]:
    """Concatenate texts: after the block, the tables of the reader contain all appended ones."""
    try:
        connection.execute(_CREATE)
        yield Concatenation(connection)
        for table in _TABLES:
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE gathered_{table} RENAME TO {table}")
    finally:
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS gathered_{table}")


def read_several(
    connection: duckdb.DuckDBPyConnection,
    texts: Sequence[PlainText],
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
) -> list[TextRead]:
    """Read several texts, each by itself, so that damage in one cannot swallow rows of the next.

    Args:
        connection: to the workspace.
        texts: of one delivery, in order.
        folder: for repaired or recoded copies.
        options: of the reading.
        log: for warnings about encodings.

    Raises:
        DeliveryRefusedError: a text cannot be read as products, or the texts have too many columns.
        ReadingTimeoutError: the reading takes too long.
    """
    limit = TimeLimit(options.max_archive_seconds)
    _check_columns(texts, options, limit)
    read = []
    size_bytes = sum(text.path.stat().st_size for text in texts)
    with gathering(connection) as gathered:
        for text in texts:
            limit.check()
            others_bytes = size_bytes - text.path.stat().st_size
            of_others = RejectLimit(options.max_reject_share, others_bytes, found=gathered.rejects)
            with TemporaryDirectory(dir=folder) as own:
                text_read = read_text(connection, text, Path(own), options, log, of_others)
            gathered.append(text.name, text_read.size_bytes)
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
