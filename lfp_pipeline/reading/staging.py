"""The staging tables in the workspace: the winners and rejects of a batch, for the merge.

    arrivals          (delivery_number, place, row_number, sku, name, description)
    descriptions      (place, description) of the arrivals, and possibly of other rows
    arrived_rejects   (delivery_number, and the columns of rejects)

For a single delivery, number 0, these are views of the reader's tables, with the places there.
For several deliveries, they are tables to which each delivery is added after its reading.
"""

from collections.abc import Sequence

import duckdb

_ARRIVALS = """
SELECT {number}::USMALLINT AS delivery_number, {place} AS place, row_number, sku, name, description
FROM winners WHERE {taken}
"""

_ARRIVED_REJECTS = """
SELECT {number}::USMALLINT AS delivery_number, row_number, byte_start, byte_end, reason, detail, raw
FROM rejects
"""


def stage_single(connection: duckdb.DuckDBPyConnection, *, taken: bool) -> None:
    """Stage the delivery that was read, as the only one; if it is not taken, only its rejects."""
    arrivals = _ARRIVALS.format(number=0, place="place", taken=taken)
    connection.execute(f"""
CREATE VIEW arrivals AS {arrivals};
CREATE VIEW descriptions AS SELECT rowid AS place, description FROM rows;
CREATE VIEW arrived_rejects AS {_ARRIVED_REJECTS.format(number=0)}
""")


def stage_in_batch(connection: duckdb.DuckDBPyConnection, number: int, *, taken: bool) -> None:
    """Stage the delivery that was read after those before; if it is not taken, only its rejects."""
    if number == 0:
        connection.execute(f"""
CREATE SEQUENCE places MINVALUE 0;
CREATE TABLE arrivals AS {_ARRIVALS.format(number=0, place="nextval('places')", taken=taken)};
CREATE VIEW descriptions AS SELECT place, description FROM arrivals;
CREATE TABLE arrived_rejects AS {_ARRIVED_REJECTS.format(number=0)}
""")
    else:
        arrivals = _ARRIVALS.format(number=number, place="nextval('places')", taken=taken)
        connection.execute(f"INSERT INTO arrivals {arrivals}")
        connection.execute(f"INSERT INTO arrived_rejects {_ARRIVED_REJECTS.format(number=number)}")


def unstage(connection: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> None:
    """Remove deliveries of a batch from the staging tables."""
    for table in ("arrivals", "arrived_rejects"):
        connection.execute(
            f"DELETE FROM {table} WHERE delivery_number IN (SELECT unnest($numbers::USMALLINT[]))",
            {"numbers": list(numbers)},
        )
