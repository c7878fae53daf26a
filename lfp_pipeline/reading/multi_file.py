"""Several texts in one delivery: their rows and rejects, put one after the other.

Each text is read into `rows`, `rejects` and `excluded` as if it were alone. What was read is moved
to tables beside them and numbered on; in the end, these take their place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.rejects import CREATE_REJECTS

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


@contextmanager
def naming(member: str) -> Iterator[None]:
    """Begin the text of a refusal within the block with the name of a member, if it has one."""
    try:
        yield
    except DeliveryRefusedError as error:
        if member:
            error.args = (f"In {member}: {error}", *error.args[1:])
        raise


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
