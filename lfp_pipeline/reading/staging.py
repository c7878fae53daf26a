"""What the merge takes from the workspace: the winners and rejects of a batch of deliveries.

    arrivals          (delivery_number, place, row_number, sku, name, description)
    descriptions      (place, description) of the arrivals, and maybe of others
    arrived_rejects   (delivery_number, and the columns of rejects)

Of a single delivery, number 0, these are views of what was read, and a place is a rowid there; of
several, tables to which each is added once it was read.
"""

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
    """What was read is all that arrives; if it is not taken, only its rejects do."""
    arrivals = _ARRIVALS.format(number=0, place="row_number - 1", taken=taken)
    connection.execute(f"""
CREATE VIEW arrivals AS {arrivals};
CREATE VIEW descriptions AS SELECT rowid AS place, description FROM rows;
CREATE VIEW arrived_rejects AS {_ARRIVED_REJECTS.format(number=0)}
""")


def stage_in_batch(connection: duckdb.DuckDBPyConnection, number: int, *, taken: bool) -> None:
    """Add what was read to the arrivals, as the delivery of that number, after those before."""
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
