"""Several texts in one delivery: their rows and rejects, put one after the other.

Each text is read into `rows`, `rejects` and `excluded` as if it were alone. What was read is moved
to tables beside them and numbered on; in the end, these take their place.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.loading import header_of
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.text_reader import TextRead, read_text
from lfp_pipeline.reading.unpacking import TimeLimit

MAX_COLUMNS_OF_MEMBERS = 100_000
"""The headers of the members of one zip may name so many columns, all together."""

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
    """What was read of the texts so far.

    Attributes:
        rows: how many, rejects included; the next row has the number after it.
        rejects: how many of them.
        size_bytes: of the texts; the next begins there.
    """

    connection: duckdb.DuckDBPyConnection
    rows: int = 0
    rejects: int = 0
    size_bytes: int = 0

    def append(self, name: str, size_bytes: int) -> None:
        """Add what was read of the next text, which has so many bytes."""
        numbers = {"rows": self.rows}
        places = numbers | {"bytes": self.size_bytes, "name": name}
        self.connection.execute(_APPEND_REJECTS, places)
        self.connection.execute(_APPEND_EXCLUDED, numbers)
        self.connection.execute(_APPEND_ROWS)
        self.rows, self.rejects = self.connection.execute(_COUNTS).fetchall()[0]
        self.size_bytes += size_bytes


@contextmanager
def gathering(connection: duckdb.DuckDBPyConnection) -> Iterator[Concatenation]:
    """Gather several texts: after the block, what was appended is in the tables of the reader."""
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
    """Each text is read for itself: nothing that is wrong in one can swallow rows of the next."""
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
                one = read_text(connection, text, Path(own), options, log, of_others)
            gathered.append(text.name, one.size_bytes)
            read.append(one)
    return read


def _check_columns(texts: Sequence[PlainText], options: ReadOptions, limit: TimeLimit) -> None:
    """Refuse members with very many columns in all: a query with thousands takes a second."""
    columns = 0
    for text in texts:
        limit.check()
        with suppress(DeliveryRefusedError):  # Reading it says what is wrong with it.
            columns += len(header_of(text, options).columns.header)
        if columns > MAX_COLUMNS_OF_MEMBERS:
            msg = (
                f"The files in the zip have more than {MAX_COLUMNS_OF_MEMBERS:,} columns in all. "
                "Deliver them in several zips."
            )
            raise DeliveryRefusedError(msg)
