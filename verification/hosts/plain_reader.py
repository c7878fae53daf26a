"""A plain reader of a lake: DuckDB with its extensions, and nothing of the pipeline.

As a program, it reads again and again, as a report would, and prints each look as a line of JSON.
"""

import json
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from urllib.parse import urlsplit

import duckdb

_EXTENSIONS = ("httpfs", "postgres_scanner", "ducklake")

_LOOK = """
SELECT
    (SELECT count(*) FROM products),
    (SELECT count(DISTINCT sku) FROM products),
    (SELECT coalesce(sum(no_of_products), 0)::BIGINT FROM name_counts),
    (SELECT coalesce(sum(rows_inserted), 0)::BIGINT FROM deliveries),
    (
        SELECT count(*)
        FROM (SELECT name, count(*) AS no_of_products FROM products GROUP BY name) AS counted
        FULL JOIN name_counts USING (name)
        WHERE counted.no_of_products IS DISTINCT FROM name_counts.no_of_products
    )
"""
"""Without deletions, the first four are the number of products, and the last one is 0."""


def connect(environment: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """Return a connection to the lake of an environment, to read."""
    # To verify the signature of an extension takes 0.1 s each time.
    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    load_extensions(connection)
    store = urlsplit(environment["AWS_ENDPOINT_URL_S3"])
    connection.execute(
        f"""
        CREATE SECRET (
            TYPE s3, KEY_ID '{environment["AWS_ACCESS_KEY_ID"]}',
            SECRET '{environment["AWS_SECRET_ACCESS_KEY"]}', REGION '{environment["AWS_REGION"]}',
            ENDPOINT '{store.netloc}', USE_SSL false, URL_STYLE 'path'
        )
        """
    )
    catalog = urlsplit(environment["LFP_CATALOG"])
    connection.execute(
        f"""
        ATTACH 'ducklake:postgres:host={catalog.hostname} port={catalog.port}
            user={catalog.username} password={environment["PGPASSWORD"]}
            dbname={catalog.path.strip("/")}' AS lake (READ_ONLY, META_SCHEMA 'lfp_lake')
        """
    )
    connection.execute("USE lake.main")
    return connection


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the extensions for lakes from their packages."""
    for name in _EXTENSIONS:
        folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        connection.execute(f"LOAD '{folder}/{name}.duckdb_extension'")


@dataclass(frozen=True)
class Look:
    """A look at the tables.

    Attributes:
        at: its start, in seconds since the epoch.
        seconds: how long it took.
        products: their number.
        problem: what was wrong; None: nothing.
    """

    at: float
    seconds: float
    products: int = 0
    problem: str | None = None


def look(connection: duckdb.DuckDBPyConnection) -> Look:
    """Look at the tables once, and check that they agree with each other."""
    at, started = time.time(), time.perf_counter()
    try:
        counts = connection.execute(_LOOK).fetchall()[0]
    except duckdb.Error as error:
        return Look(at, time.perf_counter() - started, problem=f"failed: {error}")
    seconds = time.perf_counter() - started
    *products, wrong_names = counts
    agree = len(set(products)) == 1 and not wrong_names
    return Look(at, seconds, products[0], None if agree else f"inconsistent: {counts}")


def main() -> None:
    """Look at the tables until killed."""
    chance = random.Random(sys.argv[1])
    connection = connect(os.environ)
    while True:
        if chance.random() < 0.1:
            connection = connect(os.environ)
        sys.stdout.write(json.dumps(asdict(look(connection))) + "\n")
        sys.stdout.flush()
        time.sleep(chance.uniform(0.02, 0.3))


if __name__ == "__main__":
    main()
