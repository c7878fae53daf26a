"""A note beside the files of a lake: the id of the database, and the writes of its ledger.

The note is not in PostgreSQL. So it shows if an older copy of PostgreSQL's database is put back.
"""

import duckdb

_NAME = "lfp-commits.csv"

_WRITE = """
COPY (SELECT $database_id AS database_id, $count::BIGINT AS ledger_writes)
TO $path (FORMAT csv, HEADER)
"""
_READ = """
SELECT database_id, ledger_writes
FROM read_csv($path, header = true, columns = {'database_id': 'VARCHAR', 'ledger_writes': 'BIGINT'})
"""


def read_commits(connection: duckdb.DuckDBPyConnection, place: str) -> tuple[str | None, int]:
    """Return the noted id and count of the lake at a place; None and 0 where there is no note."""
    try:
        found = connection.execute(_READ, {"path": _note(place)}).fetchone()
    except duckdb.Error:
        return None, 0
    return found or (None, 0)


def write_commits(
    connection: duckdb.DuckDBPyConnection, place: str, database_id: str, count: int
) -> None:
    """Replace the note of the lake at a place, if its content is another."""
    if read_commits(connection, place) != (database_id, count):
        values = {"database_id": database_id, "count": count, "path": _note(place)}
        connection.execute(_WRITE, values)


def _note(place: str) -> str:
    return f"{place}/{_NAME}"
