"""The real `dagster dev`: dropped files reach the tables and the published copy."""

from contextlib import suppress
from pathlib import Path

import httpx

from examples.processes import Dagster, dagster_dev
from testing.dagster_project import NAME_COUNTS, PRODUCTS, drop, query
from testing.expected_tables import File, expected_name_counts, expected_products

RUNS = "{ runsOrError { ... on Runs { results { status jobName } } } }"

FIRST = File("first.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s1", "Ann", "z")))
BURST = [
    File(
        f"burst{number}.csv",
        number * 1_000_000,
        (("s1", f"n{number}", ""), (f"t{number}", "T", "")),
    )
    for number in range(5)
]


def runs(dagster: Dagster) -> list[tuple[str, str]]:
    """Return job and status of every run; none while the web server does not answer."""
    with suppress(httpx.TransportError):
        answer = httpx.post(f"{dagster.url}/graphql", json={"query": RUNS}, timeout=20)
        results = answer.json()["data"]["runsOrError"]["results"]
        return [(run["jobName"], run["status"]) for run in results]
    return []


def are_merged(dagster: Dagster, number: int) -> bool:
    """Whether so many files are merged, and no run is unfinished."""
    statuses = {status for _, status in runs(dagster)}
    return dagster.notes() == number and set() < statuses <= {"SUCCESS", "FAILURE", "CANCELED"}


def test_dropped_files_reach_the_tables_and_the_published_copy(tmp_path: Path) -> None:
    data, published = tmp_path / "data", tmp_path / "data" / "published"
    (data / "inbox").mkdir(parents=True)
    with dagster_dev(
        tmp_path, {}, interval=1, inbox_stable_seconds=0.5, publish_time_share=0.5
    ) as dagster:
        drop(data / "inbox", FIRST.key, FIRST.content, FIRST.microseconds)
        dagster.until(lambda: ("ingest_products", "SUCCESS") in runs(dagster))
        assert query(data, PRODUCTS) == expected_products([FIRST])

        for file in BURST:
            drop(data / "inbox", file.key, file.content, file.microseconds)
        dagster.until(lambda: are_merged(dagster, 1 + len(BURST)))
        assert {status for _, status in runs(dagster)} <= {"SUCCESS"}
        assert query(data, PRODUCTS) == expected_products([FIRST, *BURST])
        assert query(data, NAME_COUNTS) == expected_name_counts([FIRST, *BURST])

        # The last run or the sensor publishes.
        dagster.until((published / "products.duckdb").exists)
        dagster.until(lambda: query(published, PRODUCTS) == expected_products([FIRST, *BURST]))
        assert query(published, NAME_COUNTS) == expected_name_counts([FIRST, *BURST])
