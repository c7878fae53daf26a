"""A note beside the files of a lake: the id of the database, and its newest snapshot.

The note is not in PostgreSQL. So it shows if an older copy of PostgreSQL's database is put back.
"""

import duckdb

_NAME = "lfp-snapshot.csv"

_WRITE = """
COPY (SELECT $database_id AS database_id, $number::BIGINT AS snapshot)
TO $path (FORMAT csv, HEADER)
"""
_READ = """
SELECT database_id, snapshot
FROM read_csv($path, header = true, columns = {'database_id': 'VARCHAR', 'snapshot': 'BIGINT'},
    auto_detect = false)
"""


def read_snapshot(connection: duckdb.DuckDBPyConnection, place: str) -> tuple[str | None, int]:
    """Return the noted id and snapshot of the lake at a place; None and 0 where there is none."""
    try:
        found = connection.execute(_READ, {"path": _note(place)}).fetchone()
    except duckdb.Error:
        return None, 0
    return found or (None, 0)


def write_snapshot(
    connection: duckdb.DuckDBPyConnection, place: str, database_id: str, number: int
) -> None:
    """Replace the note of the lake at a place, if its content is another."""
    if read_snapshot(connection, place) != (database_id, number):
        values = {"database_id": database_id, "number": number, "path": _note(place)}
        connection.execute(_WRITE, values)


def _note(place: str) -> str:
    return f"{place}/{_NAME}"
