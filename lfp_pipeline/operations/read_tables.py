"""Opens the tables for reading: the published copy, or the database where there is no copy.

Reading the copy blocks no writer. The database is read only while no process writes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import time
from typing import Any

import duckdb

from lfp_pipeline.common.duckdb_tools import lock_holder
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, WarehouseBusyError

Row = Mapping[str, Any]
"""A row of a table: values by column."""

NO_TABLES = "There are no tables yet: no file has been merged. Run `lfp ingest`."

_BUSY = (
    "There is no published copy, and the database is open in another program: {holder}.\n"
    "Try again later. `lfp publish` makes a copy, which can be read at any time."
)
_UNREADABLE = "{source} cannot be read: {error}\n`lfp verify` examines the tables."
_EARLIER_VERSION = (
    "An earlier version of this program wrote the tables: {error}\n"
    "Run `lfp ingest`, then `lfp publish`."
)


@dataclass(frozen=True)
class Tables:
    """The tables at one time.

    Attributes:
        connection: has the tables attached, to read, as its present database.
        source: what they are read from: `the published copy`, `the newest snapshot` or `the
            database`.
        as_of: the time, in seconds since the epoch.
        is_stale: whether the tables have changed since.
        folders: where the files of the tables are, if DuckDB opens them during queries.
        means_damage: returns whether an error of a query means that these files are damaged.
    """

    connection: duckdb.DuckDBPyConnection
    source: str
    as_of: float
    is_stale: bool
    folders: Sequence[str] = ()
    means_damage: Callable[[duckdb.Error], bool] = lambda _: False

    def rows(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        """Return all rows of a query, by column; raise as `rows_of` does."""
        return rows_of(self.connection, sql, values)

    @property
    def age(self) -> str:
        """A sentence on the time of the tables, and on whether they have changed since."""
        at = f"{datetime.fromtimestamp(self.as_of, UTC):%Y-%m-%d %H:%M:%S} UTC"
        changed = ", and have changed since: `lfp publish` publishes them" if self.is_stale else ""
        return f"The tables are as of {at}, from {self.source}{changed}."


@contextmanager
def open_tables(engine: Engine) -> Iterator[Tables]:
    """Yield the tables; they do not change during the block.

    Raises:
        LfpError: there are no tables, or they cannot be read.
        WarehouseBusyError: there is no copy, and a process writes the database.
    """
    published, database = engine.published, engine.warehouse
    if published.exists:
        source, as_of, is_stale = published.source, published.last.copied_at, published.is_stale
        session: AbstractContextManager[duckdb.DuckDBPyConnection] = published.session()
    elif database.exists:
        source, as_of, is_stale = "the database", time(), False
        session = database.read_session()
    else:
        raise LfpError(NO_TABLES)
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(session)
        except duckdb.Error as error:
            if holder := None if published.exists else lock_holder(error):
                raise WarehouseBusyError(_BUSY.format(holder=holder)) from error
            msg = _UNREADABLE.format(source=source.capitalize(), error=first_line(error))
            raise LfpError(msg) from error
        tables = Tables(connection, source, as_of, is_stale)
        if published.is_apart:
            yield tables
        else:
            yield replace(tables, folders=database.folders, means_damage=database.means_damage)


def rows_of(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, object] | None = None
) -> list[Row]:
    """Return all rows of a query, by column.

    Raises:
        LfpError: the tables lack a table or column.
    """
    try:
        found = connection.execute(sql, values)
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise LfpError(_EARLIER_VERSION.format(error=first_line(error))) from error
    columns = [name for name, *_ in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def first_line(error: duckdb.Error) -> str:
    """Return the first line of a message of DuckDB; the others are advice on its own settings."""
    return str(error).partition("\n")[0]
