"""PostgreSQL: COPY into a staging table, winners by `DISTINCT ON`, `INSERT .. ON CONFLICT`.

The staging table is unlogged and numbers its rows. All of it is one transaction. Unchanged products
are not written. The server is set up for loading: see `postgresql_server.py`.
"""

from pathlib import Path

import psycopg

from benchmarks.peers.postgresql_server import COUNT, ON_CONFLICT, PostgreSQLPeer, server_version

_BLOCK_BYTES = 1 << 20

_STAGING = """
CREATE UNLOGGED TABLE IF NOT EXISTS staging (
    row_no bigint GENERATED ALWAYS AS IDENTITY (CACHE 10000), name text, sku text, description text
);
TRUNCATE staging;
"""

_COPY = "COPY staging (name, sku, description) FROM STDIN (FORMAT csv, HEADER)"

_UPSERT = f"""
INSERT INTO products (sku, name, description)
SELECT DISTINCT ON (sku) sku, name, description FROM staging ORDER BY sku, row_no DESC
{ON_CONFLICT}
"""


class Tool(PostgreSQLPeer):
    """A PostgreSQL server and its Python driver."""

    title = "PostgreSQL, COPY and ON CONFLICT"

    @classmethod
    def versions(cls) -> str:
        return f"{server_version()}, psycopg {psycopg.__version__}"

    def load(self, csv_file: Path) -> None:
        with self._server.connect() as connection, connection.cursor() as cursor:
            with self.phase("reading"):
                cursor.execute(_STAGING)
                with csv_file.open("rb", buffering=0) as file, cursor.copy(_COPY) as copy:
                    while block := file.read(_BLOCK_BYTES):
                        copy.write(block)
            with self.phase("writing"):
                cursor.execute(_UPSERT)
            with self.phase("counting"):
                cursor.execute(COUNT)
            with self.phase("writing"):
                connection.commit()
