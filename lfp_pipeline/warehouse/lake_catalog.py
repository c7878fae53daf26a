"""The catalog of the lake in PostgreSQL: what it must have, and its state in one query.

    lfp.lake_identity      the id of the catalog, and the version of these tables
    lfp.writer             the process that may commit: its token, and what it does
    lfp.waiting_writer     the processes that wait for the writer lock
    lfp_lake               the tables of DuckLake

The fence: a trigger refuses each commit of a connection whose `application_name` is not the token
in `lfp.writer`. Without a token there, it refuses all commits, also of connections without a name.
It locks that row, so a commit in flight ends before another process takes over, and a commit that
began earlier and goes on later fails. Without the fence, a process that has lost its lock, and does
not know it, could commit beside its successor.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lfp_pipeline.errors import WarehouseInconsistentError

if TYPE_CHECKING:
    import psycopg

VERSION = 1
"""The version of the tables in the schema lfp that belong to the lake."""

DUCKLAKE_VERSION = "1.0"
"""The version of DuckLake's tables that this program is made for."""

FENCE_ERROR = "lfp_fence"
"""The beginning of the message with which the fence refuses a commit."""

POINTER = "lfp_schema"
"""A view of the lake in the schema main: the live schema, and the id of the database."""

_FENCE_BODY = f"""
DECLARE holder text;
BEGIN
    SELECT token INTO holder FROM lfp.writer FOR SHARE;
    IF holder IS NULL OR holder IS DISTINCT FROM current_setting('application_name') THEN
        RAISE EXCEPTION '{FENCE_ERROR}: no writer lock; readers attach the lake READ_ONLY';
    END IF;
    RETURN NULL;
END
"""

CREATE_SCHEMAS = "CREATE SCHEMA IF NOT EXISTS lfp; CREATE SCHEMA IF NOT EXISTS lfp_lake"

CREATE_TABLES = """
CREATE TABLE IF NOT EXISTS lfp.lake_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    catalog_id uuid NOT NULL DEFAULT gen_random_uuid(),
    version integer NOT NULL
);
CREATE TABLE IF NOT EXISTS lfp.writer (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    token text,
    backend integer,
    purpose text,
    pid bigint,
    host text,
    since timestamptz
);
CREATE TABLE IF NOT EXISTS lfp.waiting_writer (
    backend integer NOT NULL,
    purpose text NOT NULL,
    pid bigint NOT NULL,
    host text NOT NULL,
    since timestamptz NOT NULL
);
ALTER TABLE lfp.writer ALTER token DROP NOT NULL, ALTER token DROP DEFAULT;
UPDATE lfp.writer SET token = NULL WHERE token = '';
INSERT INTO lfp.lake_identity (version) VALUES ({version}) ON CONFLICT DO NOTHING;
INSERT INTO lfp.writer DEFAULT VALUES ON CONFLICT DO NOTHING;
""".replace("{version}", str(VERSION))

CREATE_FENCE = f"""
CREATE OR REPLACE FUNCTION lfp.fence() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = lfp AS $${_FENCE_BODY}$$;
CREATE OR REPLACE TRIGGER lfp_fence BEFORE INSERT OR DELETE ON lfp_lake.ducklake_snapshot
FOR EACH STATEMENT EXECUTE FUNCTION lfp.fence();
ALTER TABLE lfp_lake.ducklake_snapshot ENABLE ALWAYS TRIGGER lfp_fence;
"""

_PATH = "SELECT value FROM lfp_lake.ducklake_metadata WHERE key = 'data_path' AND scope IS NULL"

_IS_PREPARED = "SELECT to_regclass('lfp.writer'), to_regclass('lfp_lake.ducklake_snapshot')"

# A copy of the database has the id of the original, and another oid or another server.
_IDENTITY = """
SELECT catalog_id::text, system_identifier::text, pg_database.oid::bigint AS database_oid
FROM lfp.lake_identity, pg_control_system(), pg_database WHERE datname = current_database()
"""

# A trigger for each statement has a type without bit 0; its other bits: 1 before, 2 insert,
# 3 delete.
_STATE = f"""
SELECT
    (SELECT count(*) FROM pg_trigger
        JOIN pg_proc ON pg_proc.oid = tgfoid JOIN pg_namespace ON pg_namespace.oid = pronamespace
        WHERE tgrelid = 'lfp_lake.ducklake_snapshot'::regclass AND tgname = 'lfp_fence'
            AND tgenabled = 'A' AND tgtype = 2 + 4 + 8
            AND nspname = 'lfp' AND proname = 'fence' AND prosrc = %(body)s),
    (SELECT value FROM lfp_lake.ducklake_metadata WHERE key = 'version' AND scope IS NULL),
    ({_PATH}),
    (SELECT version FROM lfp.lake_identity),
    (SELECT jsonb_build_array(catalog_id, system_identifier, database_oid)
        FROM ({_IDENTITY}) AS identity),
    (SELECT max(snapshot_id) FROM lfp_lake.ducklake_snapshot),
    (SELECT array_agg(schema_name ORDER BY schema_id) FROM lfp_lake.ducklake_schema
        WHERE end_snapshot IS NULL AND schema_name <> 'main'),
    (SELECT sql FROM lfp_lake.ducklake_view
        WHERE end_snapshot IS NULL AND view_name = '{POINTER}')
"""

_SNAPSHOT = f"""
SELECT snapshot_id,
    (SELECT sql FROM lfp_lake.ducklake_view
        WHERE view_name = '{POINTER}' AND begin_snapshot <= snapshot_id
            AND (end_snapshot > snapshot_id OR end_snapshot IS NULL)),
    ({_PATH})
FROM lfp_lake.ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1
"""

_POINTER_SQL = re.compile(r"'(v_[0-9a-f]+)' AS .*'([^']+)' AS .*\b(\d+) AS ", re.DOTALL)

_INIT = "Run `lfp cluster init`, which creates what is missing."


class CatalogIdentity(NamedTuple):
    """What no other catalog has. A physical copy of the whole server has it, too.

    Attributes:
        catalog_id: a copy of the database has the same.
        system_identifier: the server's, by `pg_control_system()`.
        database_oid: the database's, in that server.
    """

    catalog_id: str
    system_identifier: str
    database_oid: int


@dataclass(frozen=True)
class LakeState:
    """The state of a catalog, under the writer lock.

    Attributes:
        identity: what no other catalog has.
        snapshot: DuckLake's number of the newest snapshot.
        schemas: the schemas with tables, the oldest first; but for the live one, a rebuild makes
            them, or has left them.
        live: the schema in use; None: there is no database yet.
        database_id: the id of the database.
        version: the version of its tables.
    """

    identity: CatalogIdentity
    snapshot: int
    schemas: tuple[str, ...]
    live: str | None = None
    database_id: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of the lake.

    Attributes:
        number: DuckLake's number of it.
        live: the schema in use; None: there is no database yet.
        database_id: the id of the database.
        data_path: where the files are.
    """

    number: int
    live: str | None
    database_id: str | None
    data_path: str


def pointer_view(schema: str, database_id: str, version: int) -> str:
    """Return the query of the view that names the live schema."""
    return f"SELECT '{schema}' AS schema_name, '{database_id}' AS database_id, {version} AS version"


def verified_state(connection: "psycopg.Connection[Any]", place: str, data_path: str) -> LakeState:
    """Return the state of the catalog, and verify that a commit is safe.

    Args:
        place: the catalog, for people.
        data_path: where the files must be, by the settings.

    Raises:
        WarehouseInconsistentError: the catalog is not what this program needs.
    """
    if None in _only_row(connection, _IS_PREPARED):
        msg = f"The catalog at {place} has no tables for the lake. {_INIT}"
        raise WarehouseInconsistentError(msg)
    fences, ducklake, path, version, identity, snapshot, schemas, pointer = _only_row(
        connection, _STATE, {"body": _FENCE_BODY}
    )
    if ducklake != DUCKLAKE_VERSION or version != VERSION:
        msg = (
            f"The catalog at {place} has version {ducklake} of DuckLake's tables, and version "
            f"{version} of those of lfp_pipeline; this program works with {DUCKLAKE_VERSION} and "
            f"{VERSION}. Use the version of lfp_pipeline that made it."
        )
        raise WarehouseInconsistentError(msg)
    if not fences:
        msg = (
            f"The fence of the catalog at {place} (the trigger lfp_fence on "
            f"lfp_lake.ducklake_snapshot) is missing, disabled or changed. {_INIT}"
        )
        raise WarehouseInconsistentError(msg)
    require_path(path, place, data_path)
    found = CatalogIdentity(*identity), snapshot, tuple(schemas or ())
    return LakeState(*found, *_pointed_at(pointer))


def require_path(path: str, place: str, data_path: str) -> None:
    """Raise a WarehouseInconsistentError if a catalog has its files in another place.

    Args:
        path: where the catalog has them; the other arguments are those of `verified_state`.
    """
    if path.rstrip("/") != data_path.rstrip("/"):
        msg = (
            f"The catalog at {place} has its files in {path.rstrip('/')}, and not in {data_path}. "
            "Correct the setting LFP_LAKE or LFP_CATALOG."
        )
        raise WarehouseInconsistentError(msg)


def newest_snapshot(connection: "psycopg.Connection[Any]") -> Snapshot | None:
    """Return the newest snapshot; None: the catalog has none. Needs the grants of readers only."""
    (table,) = _only_row(connection, "SELECT to_regclass('lfp_lake.ducklake_snapshot')")
    if table is None:
        return None
    found = connection.execute(_SNAPSHOT).fetchone()
    if found is None:
        return None
    number, pointer, path = found
    return Snapshot(number, *_pointed_at(pointer)[:2], path)


def catalog_identity(connection: "psycopg.Connection[Any]") -> CatalogIdentity:
    """Return what no other catalog has."""
    return CatalogIdentity(*_only_row(connection, _IDENTITY))


def _pointed_at(sql: str | None) -> tuple[str | None, str | None, int | None]:
    found = _POINTER_SQL.search(sql or "")
    return (found[1], found[2], int(found[3])) if found else (None, None, None)


def _only_row(
    connection: "psycopg.Connection[Any]", statement: str, values: dict[str, object] | None = None
) -> tuple[Any, ...]:
    (row,) = connection.execute(statement, values).fetchall()
    return tuple(row)
