"""Runs SQL of users on the tables: it can read them, and nothing else."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import duckdb

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.operations.read_tables import Tables

_CHUNK_ROWS = 10_000
_INTERRUPT_SECONDS = 0.05

_CONFINE = (
    "SET python_enable_replacements = false",  # Else `FROM x` may read a variable of this program.
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)

_READING = {
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT
}


class QueryResult:
    """The columns of a result, and its rows in chunks: the whole result is never in memory."""

    def __init__(self, found: duckdb.DuckDBPyConnection, tables: Tables) -> None:
        self._found = found
        self._tables = tables
        self.columns = [name for name, *_ in found.description or ()]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows.

        Raises:
            LfpError: the query fails; the text is DuckDB's.
        """
        with _translating_errors(self._tables):
            while chunk := self._found.fetchmany(_CHUNK_ROWS):
                yield from chunk


def run_query(tables: Tables, sql: str) -> QueryResult:
    """Run one statement that reads.

    The SQL reaches no other file, no network, no extension and no setting.

    Raises:
        OperationRefusedError: there is no statement, or several, or it does not read.
        BucketUnreachableError: the object store does not answer.
        LfpError: the statement is wrong; the text is DuckDB's.
    """
    connection = tables.connection
    if tables.folders:
        connection.execute("SET allowed_directories = $folders", {"folders": list(tables.folders)})
    for setting in _CONFINE:
        connection.execute(setting)
    with _translating_errors(tables):
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            msg = f"Give one statement of SQL; there are {len(statements)}."
            raise OperationRefusedError(msg)
        if statements[0].type not in _READING:
            msg = (
                f"{statements[0].type.name} is refused: `lfp query` only reads, with SELECT, FROM, "
                "DESCRIBE, SHOW or EXPLAIN. `lfp ingest`, `lfp revert` and `lfp purge` change the "
                "tables."
            )
            raise OperationRefusedError(msg)
        return QueryResult(_execute(connection, sql), tables)


def _execute(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    """Execute a statement so that Ctrl-C interrupts it at any moment.

    DuckDB loses a Ctrl-C that comes while it plans a statement, and an interrupt that comes before.
    """
    pool = ThreadPoolExecutor(1)
    task = pool.submit(connection.execute, sql)
    try:
        return task.result()
    finally:
        while not task.done():  # Ctrl-C has ended the wait.
            connection.interrupt()
            time.sleep(_INTERRUPT_SECONDS)
        pool.shutdown()


@contextmanager
def _translating_errors(tables: Tables) -> Iterator[None]:
    """Raise an error of DuckDB as one for users, with the place in the SQL.

    A bucket that does not answer is named.
    """
    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        if tables.means_damage(error):
            raise  # The session of the tables names the remedy.
        if isinstance(error, duckdb.IOException | duckdb.HTTPException):
            for place in tables.folders:
                if place.startswith(BUCKET):
                    Bucket(place, "LFP_LAKE").exists(is_quick=True)
        lines = [_printable_only(line) for line in str(error).split("\n") if line.strip()]
        raise LfpError("\n".join(lines)) from error


def _printable_only(line: str) -> str:
    """Return a line without tabs and the like: where DuckDB points, they have no width."""
    return "".join(filter(str.isprintable, line))
