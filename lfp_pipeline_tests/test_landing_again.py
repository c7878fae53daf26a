"""Whose bytes are gone gets them back from the inbox, by the job and by the sensor."""

import pytest

from lfp_pipeline.landing.intents import is_pruned
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.revert import revert_delivery
from lfp_pipeline_tests.oracle import LOG, File, tables, true_products
from lfp_pipeline_tests.support import NO_SKU, Project, drop

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Eva", "z"), ("s2", "Cid", "")))

ways = pytest.mark.parametrize("way", ["job", "sensor"])


@pytest.fixture
def project(project: Project) -> Project:
    """A file is in, and lies in the inbox."""
    project.drop(A)
    assert project.run("ingest_inbox").success
    return project


def prune(project: Project) -> None:
    prune_raw(project.engine, 0, LOG, even_if_needed=True)
    assert not project.engine.raw_zone.find(A.delivery_id).path.exists()


def take_in(project: Project, way: str) -> None:
    runs = [project.run("ingest_inbox")] if way == "job" else project.do(project.tick())
    assert [run.success for run in runs] == [True]


def assert_it_is_back(project: Project) -> None:
    """Its bytes are there, it is merged, and nothing is left to do."""
    raw = project.engine.raw_zone.find(A.delivery_id).path
    assert raw.read_bytes() == A.content
    assert not is_pruned(raw)
    assert project.products == true_products([A])
    assert {row[0]: row[5] for row in tables(project.engine)["ledger"]}[A.delivery_id] == "merged"
    assert_nothing_is_offered(project)
    assert project.engine.unended(LOG) == []


def assert_nothing_is_offered(project: Project) -> None:
    assert project.engine.pending_inbox_files(LOG) == []
    assert project.tick().run_requests == []


@ways
def test_bytes_that_are_gone_are_taken_from_the_inbox(project: Project, way: str) -> None:
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    take_in(project, way)
    assert_it_is_back(project)


@ways
def test_what_is_pruned_and_dropped_anew_lands_again(project: Project, way: str) -> None:
    prune(project)
    project.drop(A)
    take_in(project, way)
    assert_it_is_back(project)


def test_what_is_pruned_and_still_lies_in_the_inbox_stays_pruned(project: Project) -> None:
    prune(project)
    assert_nothing_is_offered(project)
    assert project.run("ingest_inbox").success
    assert not project.engine.raw_zone.find(A.delivery_id).path.exists()
    assert project.products == true_products([A])


@ways
def test_what_was_given_up_and_is_dropped_anew_is_merged_anew(project: Project, way: str) -> None:
    project.drop(B)
    assert project.run("ingest_inbox").success
    prune_raw(project.engine, 0, LOG)
    revert_delivery(project.engine, B.delivery_id, LOG, despite_pruned=True)
    assert project.products == []
    project.drop(A)
    take_in(project, way)
    assert_it_is_back(project)


def test_what_is_reverted_is_not_offered_whatever_became_of_its_bytes(project: Project) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    assert_nothing_is_offered(project)
    project.drop(A)
    assert_nothing_is_offered(project)
    assert project.products == []


def test_what_was_refused_and_is_pruned_is_not_offered_by_the_sensor(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    project.run("ingest_inbox")
    prune(project)
    assert project.tick().run_requests == []
    drop(project.inbox, "bad.csv", NO_SKU)
    (request,) = project.tick().run_requests
    assert request.partition_key == "bad.csv"


def test_of_two_versions_alike_in_time_and_size_the_one_that_is_there_is_enough(
    project: Project,
) -> None:
    twin = File("a.csv", 1_000_000, (("s1", "Eva", "x"), ("s2", "Bob", "y")))
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    project.drop(twin)
    assert len(twin.content) == len(A.content)
    take_in(project, "job")
    assert project.engine.raw_zone.find(twin.delivery_id).path.read_bytes() == twin.content
    assert_nothing_is_offered(project)
