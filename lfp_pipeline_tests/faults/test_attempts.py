"""The ledger keeps how often a delivery was tried and why it failed, until it is merged."""

from pathlib import Path

import pytest

from lfp_pipeline.sources.local_file import LocalFile
from testing.dagster_project import Project, query
from testing.disks import change_bytes
from testing.engine import LOG
from testing.expected_tables import File, expected_products

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"),))

ENTRY = "SELECT status, attempts, error, seconds FROM deliveries WHERE partition_key = 'a.csv'"


@pytest.fixture
def raw(project: Project) -> Path:
    """Return the damaged raw file of a delivery that is no longer in the inbox."""
    project.drop(A)
    source = LocalFile(project.inbox / A.key)
    delivery = project.engine.land(source, A.key, LOG)
    source.path.unlink()
    change_bytes(delivery.path)
    return delivery.path


def test_a_delivery_that_failed_twice_is_merged_at_the_third_attempt(
    project: Project, raw: Path
) -> None:
    project.drop(B)
    for attempt in (1, 2):
        run = project.run("ingest_inbox")
        [(status, attempts, error, seconds)] = query(project.data, ENTRY)
        assert (status, attempts, seconds) == ("failed", attempt, None)
        assert error.startswith(f"{raw} is not what landed: its sha256 is ")
        assert "Restore it from a copy, and run `lfp ingest`; or " in error
        assert f"1 file is not merged.\na.csv failed: {error}" in project.error(run)
        assert project.products == expected_products([B])
    raw.write_bytes(A.content)
    assert project.run("ingest_inbox").success
    [(status, attempts, error, seconds)] = query(project.data, ENTRY)
    assert (status, attempts, error) == ("merged", 3, None)
    assert seconds > 0
    assert project.products == expected_products([A, B])


def test_a_merged_delivery_is_not_tried_again(project: Project, raw: Path) -> None:
    raw.write_bytes(A.content)
    for _ in range(2):
        assert project.run("ingest_inbox").success
        assert query(project.data, ENTRY)[0][:3] == ("merged", 1, None)
