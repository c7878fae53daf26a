"""The schemas of a lake: each is a database; the schema `main` shows the live one to readers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
from pydantic import SecretStr

from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import LfpError
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.warehouse.lake_catalog import POINTER, pointer_view
from lfp_pipeline.warehouse.schema import (
    PRODUCTS,
    database_id,
    renew_database_id,
    schema_version,
    tables_in_use,
    use_schema,
)

if TYPE_CHECKING:
    import psycopg

# A living rebuild holds the lock of its schema.
_TRY_MARK = "SELECT pg_try_advisory_lock(hashtextextended(%(schema)s, 1))"
_RELEASE_MARK = "SELECT pg_advisory_unlock(hashtextextended(%(schema)s, 1))"

_MARKS: dict[str, "psycopg.Connection[Any]"] = {}
"""The connections with the locks of the schemas that this process builds."""


def new_schema() -> str:
    """Return a name for a new schema."""
    return f"v_{uuid4().hex[:12]}"


@contextmanager
def marked(url: SecretStr, schema: str) -> Iterator[None]:
    """Let no process drop a schema that this one builds in the block."""
    with closing(connect(url, "lfp rebuild")) as connection:
        connection.execute("SET idle_session_timeout = 0")
        connection.execute(_TRY_MARK, {"schema": schema})
        _MARKS[schema] = connection
        try:
            yield
        finally:
            del _MARKS[schema]


def require_mark(schema: str) -> None:
    """Raise an LfpError if other processes may have dropped a schema that this one builds."""
    import psycopg  # noqa: PLC0415 (only where several hosts work together)

    try:
        _MARKS[schema].execute("SELECT 1")
    except psycopg.Error as error:
        reason = str(error).partition("\n")[0]
        msg = (
            f"The connection to PostgreSQL that protects the new tables was lost: {reason}. "
            "Nothing was changed. Run this again."
        )
        raise LfpError(msg) from None


def is_abandoned(connection: "psycopg.Connection[Any]", schema: str) -> bool:
    """Return whether no living process builds the tables in a schema."""
    if schema in _MARKS:
        return False
    this = {"schema": schema}
    ((is_free,),) = connection.execute(_TRY_MARK, this).fetchall()
    if is_free:
        connection.execute(_RELEASE_MARK, this)
    return bool(is_free)


def show_to_readers(
    connection: duckdb.DuckDBPyConnection, schema: str, *, former: str | None = None
) -> None:
    """Let readers see the tables of the schema in use, and drop a former one, in one commit."""
    with transaction(connection):
        _show(connection, schema)
        if former is not None:
            connection.execute(f"DROP SCHEMA warehouse.{former} CASCADE")


def show_other_database(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Give a database that has lost commits another id, and let readers see it, in one commit.

    Then no status note counts, and the next run merges again what was lost and has a record.
    """
    use_schema(connection, schema)
    with transaction(connection):
        renew_database_id(connection)
        _show(connection, schema)


def _show(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    for table in sorted(tables_in_use(connection)):
        connection.execute(
            f"CREATE OR REPLACE VIEW warehouse.main.{table} AS SELECT * FROM {schema}.{table}"
        )
    products = PRODUCTS.format(schema=f"{schema}.")
    connection.execute(f"CREATE OR REPLACE VIEW warehouse.main.products AS {products}")
    pointer = pointer_view(schema, database_id(connection), schema_version(connection))
    connection.execute(f"CREATE OR REPLACE VIEW warehouse.main.{POINTER} AS {pointer}")
