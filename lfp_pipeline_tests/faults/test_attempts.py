"""The ledger tells how often a delivery was tried, and why it is not in; then it goes in."""

from pathlib import Path

import pytest

from lfp_pipeline.sources.base import LocalFile
from testing.disks import change_bytes
from testing.engine import LOG
from testing.expected_tables import File, expected_products
from testing.project import Project, query

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"),))

TOLD = "SELECT status, attempts, error, seconds FROM deliveries WHERE partition_key = 'a.csv'"


@pytest.fixture
def raw(project: Project) -> Path:
    """Of a delivery that has landed and is no longer in the inbox: it was damaged since."""
    project.drop(A)
    source = LocalFile(project.inbox / A.key)
    delivery = project.engine.land(source, A.key, LOG)
    source.path.unlink()
    change_bytes(delivery.path)
    return delivery.path


def test_a_delivery_that_failed_twice_goes_in_at_the_third_attempt(
    project: Project, raw: Path
) -> None:
    project.drop(B)
    for attempt in (1, 2):
        run = project.run("ingest_inbox")
        [(status, attempts, error, seconds)] = query(project.data, TOLD)
        assert (status, attempts, seconds) == ("failed", attempt, None)
        assert error.startswith(f"{raw} is not what landed: its sha256 is ")
        assert error.endswith("Then run ingest_inbox.")
        assert f"1 file is not in.\na.csv failed: {error}" in project.error(run)
        assert project.products == expected_products([B])
    raw.write_bytes(A.content)
    assert project.run("ingest_inbox").success
    [(status, attempts, error, seconds)] = query(project.data, TOLD)
    assert (status, attempts, error) == ("merged", 3, None)
    assert seconds > 0
    assert project.products == expected_products([A, B])


def test_what_is_in_is_tried_no_more(project: Project, raw: Path) -> None:
    raw.write_bytes(A.content)
    for _ in range(2):
        assert project.run("ingest_inbox").success
        assert query(project.data, TOLD)[0][:3] == ("merged", 1, None)
