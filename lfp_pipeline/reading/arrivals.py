"""What the merge takes from the workspace: the winners and rejects of a batch of deliveries.

    arrivals          (delivery_number, row_number, sku, name, description)
    arrived_rejects   (delivery_number, and the columns of rejects)

Of a single delivery, number 0, these are views of what was read; of several, tables to which each
is added once it was read.
"""

import duckdb

_ARRIVALS = """
SELECT {number}::USMALLINT AS delivery_number, row_number, sku, name, description
FROM winners WHERE {taken}
"""

_ARRIVED_REJECTS = """
SELECT {number}::USMALLINT AS delivery_number, row_number, byte_start, byte_end, reason, detail, raw
FROM rejects
"""


def arrive_alone(connection: duckdb.DuckDBPyConnection, *, taken: bool) -> None:
    """What was read is all that arrives; if it is not taken, only its rejects do."""
    for name, query in _queries(0, taken).items():
        connection.execute(f"CREATE VIEW {name} AS {query}")


def arrive_with_others(connection: duckdb.DuckDBPyConnection, number: int, *, taken: bool) -> None:
    """Add what was read to the arrivals, as the delivery of that number."""
    for name, query in _queries(number, taken).items():
        begun = f"CREATE TABLE IF NOT EXISTS {name} AS {query} LIMIT 0"
        connection.execute(f"{begun}; INSERT INTO {name} {query}")


def _queries(number: int, taken: bool) -> dict[str, str]:
    return {
        "arrivals": _ARRIVALS.format(number=number, taken=str(taken).lower()),
        "arrived_rejects": _ARRIVED_REJECTS.format(number=number),
    }
