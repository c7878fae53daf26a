"""The schemas of a lake: each is a database; the schema `main` shows the live one to readers."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb

from lfp_pipeline.warehouse.lake_catalog import POINTER, pointer_view
from lfp_pipeline.warehouse.schema import database_id, schema_version, tables_in_use

if TYPE_CHECKING:
    import psycopg

# A living rebuild holds the lock of its schema.
_TRY_MARK = "SELECT pg_try_advisory_lock(hashtextextended(%(schema)s, 1))"
_RELEASE_MARK = "SELECT pg_advisory_unlock(hashtextextended(%(schema)s, 1))"


def new_schema() -> str:
    """Return a name for a new schema."""
    return f"v_{uuid4().hex[:12]}"


def hold_schema(connection: "psycopg.Connection[Any]", schema: str) -> None:
    """Let no other process drop a schema, as long as the connection lasts."""
    connection.execute(_TRY_MARK, {"schema": schema})


def is_abandoned(connection: "psycopg.Connection[Any]", schema: str) -> bool:
    """Return whether no living process builds the tables in a schema."""
    this = {"schema": schema}
    ((is_free,),) = connection.execute(_TRY_MARK, this).fetchall()
    if is_free:
        connection.execute(_RELEASE_MARK, this)
    return bool(is_free)


def show_to_readers(connection: duckdb.DuckDBPyConnection, schema: str, *former: str) -> None:
    """Let readers see the tables of a schema, and drop a former one, in the caller's commit."""
    for table in sorted(tables_in_use(connection)):
        connection.execute(
            f"CREATE OR REPLACE VIEW warehouse.main.{table} AS SELECT * FROM {schema}.{table}"
        )
    pointer = pointer_view(schema, database_id(connection), schema_version(connection))
    connection.execute(f"CREATE OR REPLACE VIEW warehouse.main.{POINTER} AS {pointer}")
    for old in former:
        connection.execute(f"DROP SCHEMA warehouse.{old} CASCADE")
