"""PostgreSQL: COPY into a staging table, winners by `DISTINCT ON`, `INSERT .. ON CONFLICT`.

The staging table is unlogged and numbers its rows. All of it is one transaction. Unchanged products
are not written. The server is set up for loading: see `postgresql_server.py`.
"""

from contextlib import ExitStack
from pathlib import Path

import psycopg

from benchmarks.peers.peer import Peer
from benchmarks.peers.postgresql_server import (
    COUNT,
    ON_CONFLICT,
    dump_postgresql,
    running_server,
    server_unavailable,
    server_version,
    stored_table_bytes,
)

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


class Tool(Peer):
    """A PostgreSQL server and its Python driver."""

    title = "PostgreSQL, COPY and ON CONFLICT"

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why there is no server: it is a package of the system."""
        return server_unavailable()

    @classmethod
    def versions(cls) -> str:
        """The versions of the server and the driver."""
        return f"{server_version()}, psycopg {psycopg.__version__}"

    def start(self) -> None:
        """Make a cluster and start its server."""
        with ExitStack() as stack:
            self._server = stack.enter_context(running_server(self.folder))
            self._running = stack.pop_all()

    def stop(self) -> None:
        """Stop the server."""
        self._running.close()

    def load(self, csv_file: Path) -> None:
        """Copy, upsert, count, commit."""
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

    def dump(self, products_csv: Path, counts_csv: Path) -> None:
        """Write both tables as CSV."""
        dump_postgresql(self._server, products_csv, counts_csv)

    def stored_bytes(self) -> int:
        """The tables and the index, without the staging table and the log."""
        return stored_table_bytes(self._server)
