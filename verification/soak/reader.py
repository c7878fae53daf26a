"""A reader: opens the published tables again and again, as a report would.

It prints each look at the tables as a line of JSON (see `Look`).
"""

import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

_QUERIES = (
    "SELECT * FROM name_counts ORDER BY no_of_products DESC LIMIT 20",
    "SELECT name, count(*) FROM products GROUP BY name ORDER BY ALL DESC LIMIT 20",
    "SELECT * FROM products WHERE sku = 's000100'",
    "SELECT status, count(*), sum(rows_read) FROM deliveries GROUP BY status",
)

_AGREE = """
SELECT
    (SELECT count(*) FROM products),
    (SELECT coalesce(sum(no_of_products), 0)::BIGINT FROM name_counts),
    (SELECT coalesce(sum(rows_inserted), 0)::BIGINT FROM deliveries)
"""
"""Without deletions all three are the number of products."""


@dataclass(frozen=True)
class Look:
    """A look at the tables.

    Attributes:
        at: its start, in seconds since the epoch.
        seconds: to open the file, query and close it.
        problem: what was wrong; None: nothing.
    """

    at: float
    seconds: float
    products: int = 0
    problem: str | None = None


def look(published: Path, query: str) -> Look:
    """Query the published tables, and check that they agree with each other."""
    at, started = time.time(), time.perf_counter()
    try:
        with duckdb.connect(published, read_only=True) as connection:
            connection.execute(query).fetchall()
            counts = connection.execute(_AGREE).fetchall()[0]
    except duckdb.Error as error:
        return Look(at, time.perf_counter() - started, problem=f"refused: {error}")
    seconds = time.perf_counter() - started
    return Look(at, seconds, counts[0], None if len(set(counts)) == 1 else f"torn: {counts}")


def main() -> None:
    """Wait for the tables, and look at them until killed."""
    published, seed = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    while not published.exists():
        time.sleep(0.2)
    while True:
        found = look(published, chance.choice(_QUERIES))
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        sys.stdout.flush()
        time.sleep(chance.uniform(0.2, 1.5))


if __name__ == "__main__":
    main()
