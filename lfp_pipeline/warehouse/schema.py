"""The tables of the warehouse: their definitions and migrations.

The tables have no key and no index: these make loading several times slower, and an index must fit
in memory. Uniqueness rests on the single writer and on the checks of every merge before its commit.

`products` is a view. Its rows are in `product_rows`, with the number of the ledger entry in the
place of delivery id and time. So rows move to a newer delivery of the same file when the ledger
entry of that delivery takes over their number, and none of them is written.
"""

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.errors import OperationRefusedError, WarehouseInconsistentError
from lfp_pipeline.model.table_spec import COLUMN_LIST, PRODUCT_SPEC

VERSION = 7

INCOMING = "warehouse.lfp_incoming"
"""A table that will take the place of `product_rows`. It is no part of the schema."""

SWAP_IN = f"DROP TABLE warehouse.product_rows; ALTER TABLE {INCOMING} RENAME TO product_rows"

PRODUCTS = f"""
SELECT {COLUMN_LIST}, delivery_id, delivered_at, row_number
FROM {{schema}}product_rows LEFT JOIN {{schema}}deliveries USING (ledger_number)
"""
"""The view `products`. A prefix for its tables may be inserted as `schema`.

No row is lost where a ledger entry is missing, though the merges never leave one out.
"""

# Names without a catalog: people attach the database under any name.
_CREATE_PRODUCTS = f"CREATE VIEW warehouse.products AS {PRODUCTS.format(schema='')}"

_MIGRATIONS = {
    1: """
CREATE TABLE warehouse.products (
    sku VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    delivery_id VARCHAR NOT NULL,
    delivered_at TIMESTAMP NOT NULL,
    row_number BIGINT NOT NULL
);

CREATE TABLE warehouse.database_identity AS SELECT uuid()::VARCHAR AS database_id;

CREATE TABLE warehouse.name_counts (
    name VARCHAR NOT NULL,
    no_of_products BIGINT NOT NULL
);

CREATE TABLE warehouse.deliveries (
    delivery_id VARCHAR NOT NULL,
    partition_key VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    delivered_at TIMESTAMP NOT NULL,
    merged_at TIMESTAMP,
    status VARCHAR NOT NULL,
    rows_read BIGINT NOT NULL,
    rows_inserted BIGINT NOT NULL,
    rows_updated BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_superseded BIGINT NOT NULL,
    rows_stale BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    error VARCHAR
);

CREATE TABLE warehouse.rejected_rows (
    delivery_id VARCHAR NOT NULL,
    row_number BIGINT NOT NULL,
    byte_start BIGINT NOT NULL,
    byte_end BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    raw BLOB NOT NULL
);
""",
    2: "ALTER TABLE warehouse.deliveries ADD COLUMN read_with VARCHAR",
    3: """
ALTER TABLE warehouse.deliveries ADD COLUMN kind VARCHAR DEFAULT 'products';
ALTER TABLE warehouse.deliveries ADD COLUMN rows_deleted BIGINT DEFAULT 0;
ALTER TABLE warehouse.deliveries ADD COLUMN attempts BIGINT DEFAULT 1;
ALTER TABLE warehouse.deliveries ADD COLUMN seconds DOUBLE;

CREATE TABLE warehouse.deletions (
    sku VARCHAR NOT NULL,
    delivery_id VARCHAR NOT NULL,
    delivered_at TIMESTAMP NOT NULL
);

CREATE TABLE warehouse.operations (
    operation VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP NOT NULL,
    told VARCHAR NOT NULL
);
""",
    4: """
ALTER TABLE warehouse.deliveries ADD COLUMN blank_lines BIGINT DEFAULT 0;
ALTER TABLE warehouse.deliveries ADD COLUMN repeated_headers BIGINT DEFAULT 0;
ALTER TABLE warehouse.deliveries ADD COLUMN lines_above_header BIGINT DEFAULT 0;
ALTER TABLE warehouse.deliveries ADD COLUMN notes VARCHAR;
""",
    5: "ALTER TABLE warehouse.deliveries ADD COLUMN read_conditions VARCHAR",
    6: "ALTER TABLE warehouse.operations RENAME COLUMN told TO summary",
    7: f"""
ALTER TABLE warehouse.deliveries ADD COLUMN ledger_number UINTEGER;
ALTER TABLE warehouse.deliveries ADD COLUMN is_regular BOOLEAN;

UPDATE warehouse.deliveries AS entry
SET ledger_number = numbered.ledger_number
FROM (
    SELECT rowid AS place, row_number() OVER (ORDER BY delivery_id, rowid) AS ledger_number
    FROM warehouse.deliveries
) AS numbered
WHERE entry.rowid = numbered.place;

-- Rows of deliveries that the ledger lacks get the number 0, and `lfp verify` reports them.
INSERT INTO warehouse.product_rows
SELECT {COLUMN_LIST}, coalesce(ledger_number, 0), row_number
FROM warehouse.products LEFT JOIN (
    SELECT delivery_id, min(ledger_number) AS ledger_number
    FROM warehouse.deliveries GROUP BY delivery_id
) USING (delivery_id);

DROP TABLE warehouse.products;
""",
}

_OF_ROWS = 7
"""The version that has moved the rows of `products` to `product_rows`."""

_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS warehouse.schema_version (
    version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL
)
"""

# A lake has several schemas; a database in a file has one.
_SCHEMA = "SELECT coalesce(getvariable('lfp_schema'), 'main')"

_TABLES = f"""
SELECT table_name FROM duckdb_tables()
WHERE database_name = 'warehouse' AND schema_name = ({_SCHEMA})
"""

_KIND = "SELECT type FROM duckdb_databases() WHERE database_name = 'warehouse'"


def is_lake(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the attached warehouse is a DuckLake, and not a DuckDB file."""
    return connection.execute(_KIND).fetchall() == [("ducklake",)]


def use_schema(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Let `warehouse.products` mean the table in a schema of the attached lake."""
    connection.execute(f"SET VARIABLE lfp_schema = '{schema}'")
    connection.execute(f"SET search_path = 'memory.main,warehouse.{schema}'")


def schema_in_use(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the schema of the attached warehouse that has its tables."""
    return str(connection.execute(_SCHEMA).fetchall()[0][0])


def tables_in_use(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of the tables of the attached warehouse."""
    return {table for (table,) in connection.execute(_TABLES).fetchall()}


def create_product_rows(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Create a table for the rows of products in the attached warehouse.

    The compression that DuckDB itself would choose is somewhat smaller, and takes much longer to
    write. Every merge scans all skus and names, so these are not compressed. A lake has the
    compression of its files.
    """
    columns = [
        *(
            (column.name, "VARCHAR", "zstd" if column.is_long else "uncompressed")
            for column in PRODUCT_SPEC
        ),
        ("ledger_number", "UINTEGER", "rle"),
        ("row_number", "BIGINT", "bitpacking"),
    ]
    in_lake = is_lake(connection)
    definitions = [
        f"{name} {type_} NOT NULL" + f" USING COMPRESSION {compression}" * (not in_lake)
        for name, type_, compression in columns
    ]
    connection.execute(f"CREATE TABLE {table} ({', '.join(definitions)})")


def require_present_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise unless the attached warehouse can be read as it is.

    Raises:
        OperationRefusedError: an earlier version of this program made the warehouse.
        WarehouseInconsistentError: a newer version did.
    """
    if _known_version(tables_in_use(connection), connection) < VERSION:
        msg = "An earlier version of lfp made the database. Run `lfp ingest` to convert it."
        raise OperationRefusedError(msg)


def is_present(version: int | None) -> bool:
    """Return whether a version of the tables is the present one."""
    return version == VERSION


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the attached warehouse to the present schema, in one transaction.

    Also drops an incoming table that a killed process has left.

    Raises:
        WarehouseInconsistentError: a newer version of this program has written the warehouse.
    """
    tables = tables_in_use(connection)
    current = _known_version(tables, connection)
    if INCOMING.removeprefix("warehouse.") in tables:
        connection.execute(f"DROP TABLE {INCOMING}")
    if current == VERSION:
        return
    has_log = not is_lake(connection)
    with transaction(connection):
        connection.execute(_VERSION_TABLE)
        for version in range(current + 1, VERSION + 1):
            if version == _OF_ROWS:
                create_product_rows(connection, "warehouse.product_rows")
            connection.execute(_MIGRATIONS[version])
            if version == _OF_ROWS:
                _create_view(connection)
            connection.execute(
                "INSERT INTO warehouse.schema_version VALUES ($1, $2)", [version, utc_now()]
            )
    if has_log:
        connection.execute("CHECKPOINT warehouse")  # A copy of the file alone has the tables, too.


def _create_view(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the view `products` in the attached warehouse, with the names of tables alone."""
    if is_lake(connection):
        prefix = f"{schema_in_use(connection)}."
        connection.execute(f"CREATE VIEW warehouse.products AS {PRODUCTS.format(schema=prefix)}")
        return
    ((before,),) = connection.execute("SELECT current_setting('search_path')").fetchall()
    connection.execute("SET search_path = 'warehouse.main'")
    connection.execute(_CREATE_PRODUCTS)
    connection.execute(f"SET search_path = '{before or 'memory.main'}'")


def _known_version(tables: set[str], connection: duckdb.DuckDBPyConnection) -> int:
    current = schema_version(connection) if "schema_version" in tables else 0
    if current > VERSION:
        msg = (
            f"The database has schema version {current}; this program knows {VERSION}. "
            "Use the version of lfp_pipeline that wrote it, or a newer one."
        )
        raise WarehouseInconsistentError(msg)
    return current


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of the attached warehouse."""
    statement = "SELECT coalesce(max(version), 0) FROM warehouse.schema_version"
    return int(connection.execute(statement).fetchall()[0][0])


def database_id(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the id of the attached warehouse; a rebuild that loses deliveries gives another id."""
    statement = "SELECT database_id FROM warehouse.database_identity"
    return str(connection.execute(statement).fetchall()[0][0])


def renew_database_id(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the attached warehouse another id, so that no status note about it counts."""
    connection.execute("UPDATE warehouse.database_identity SET database_id = uuid()::VARCHAR")
