"""The real `dagster dev`: dropped files reach the tables and the published copy."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from examples.processes import free_port, stop
from testing.dagster_project import NAME_COUNTS, PRODUCTS, drop, query
from testing.expected_tables import File, expected_name_counts, expected_products

PROJECT = Path(__file__).parents[2]

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


@dataclass(frozen=True)
class Dagster:
    """A running `dagster dev`, and its data folder."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    log: Path

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/server_info").is_success
        return False

    def runs(self) -> list[tuple[str, str]]:
        """Return job and status of every run."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": RUNS}, timeout=20)
        results = answer.json()["data"]["runsOrError"]["results"]
        return [(run["jobName"], run["status"]) for run in results]

    def merged(self) -> int:
        return len(list(self.data.glob("raw/*/*.outcome")))

    def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds; fail after some seconds."""
        deadline = time.monotonic() + seconds
        while not done():
            log = self.log.read_text(errors="replace")[-5_000:]
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.2)

    def at_rest(self) -> bool:
        return all(status in {"SUCCESS", "FAILURE", "CANCELED"} for _, status in self.runs())


@contextmanager
def dagster_dev(folder: Path, home: Path) -> Iterator[Dagster]:
    shutil.copytree(home, folder / "home")
    shutil.copy(PROJECT / "dagster.yaml", folder / "home")
    (folder / "data" / "inbox").mkdir(parents=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LFP_") or name == "LFP_SETTINGS_FILE"
    }
    own = {
        "DAGSTER_HOME": str(folder / "home"),
        "LFP_DATA_DIR": str(folder / "data"),
        "LFP_INBOX_STABLE_SECONDS": "0.5",
        "LFP_SENSOR_INTERVAL_SECONDS": "1",
        "LFP_PUBLISH_TIME_SHARE": "0.5",
    }
    port = free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--port", str(port)],
            cwd=PROJECT,
            env=inherited | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Dagster(process, f"http://127.0.0.1:{port}", folder / "data", log)
    finally:
        stop(process)


@pytest.fixture
def dagster(tmp_path: Path, home: Path) -> Iterator[Dagster]:
    with dagster_dev(tmp_path, home) as dagster:
        dagster.until(dagster.answers, seconds=90)
        yield dagster


def test_dropped_files_reach_the_tables_and_the_published_copy(dagster: Dagster) -> None:
    inbox = dagster.data / "inbox"
    drop(inbox, FIRST.key, FIRST.content, FIRST.microseconds)
    dagster.until(lambda: ("ingest_products", "SUCCESS") in dagster.runs(), seconds=60)
    assert query(dagster.data, PRODUCTS) == expected_products([FIRST])

    for file in BURST:
        drop(inbox, file.key, file.content, file.microseconds)
    dagster.until(lambda: dagster.merged() == 1 + len(BURST) and dagster.at_rest(), seconds=60)
    assert {status for _, status in dagster.runs()} == {"SUCCESS"}
    assert query(dagster.data, PRODUCTS) == expected_products([FIRST, *BURST])
    assert query(dagster.data, NAME_COUNTS) == expected_name_counts([FIRST, *BURST])

    published = dagster.data / "published"  # The last run or the sensor publishes.
    dagster.until((published / "products.duckdb").exists, seconds=60)
    dagster.until(
        lambda: query(published, PRODUCTS) == expected_products([FIRST, *BURST]), seconds=60
    )
    assert query(published, NAME_COUNTS) == expected_name_counts([FIRST, *BURST])
