"""The tables are published at the end of runs; the sensor publishes deferred changes."""

import json
import time
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from testing.dagster_project import NO_SKU, PRODUCTS, Project, drop, project_in
from testing.expected_tables import File, expected_products
from testing.processes import HOLD_MARK, running

SENSOR = "publish_sensor"

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Cid", "w")))


def published(project: Project) -> list[tuple[object, ...]]:
    path = project.data / "published" / "products.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(PRODUCTS).fetchall()


def remember(project: Project, **changes: float) -> None:
    note = project.data / "published" / "products.duckdb.json"
    note.write_text(json.dumps(json.loads(note.read_bytes()) | changes))


def just_published_slowly(project: Project) -> None:
    remember(project, seconds=1000, ended_at=time.time())


def long_ago(project: Project) -> None:
    remember(project, ended_at=0)


@pytest.fixture
def outdated(project: Project) -> Project:
    """A project with one published file, and another that was merged too soon after it."""
    project.drop(A)
    project.run("ingest_inbox")
    just_published_slowly(project)
    project.drop(B)
    assert project.run("ingest_inbox").success
    return project


def test_both_jobs_publish_at_their_end(project: Project) -> None:
    project.drop(A)
    assert project.run("ingest_inbox").success
    assert published(project) == expected_products([A])
    long_ago(project)
    project.drop(B)
    assert project.ingest(B.key).success
    assert published(project) == expected_products([A, B])
    assert "up to date" in project.tick(SENSOR).skip_message


def test_the_good_files_of_a_failed_run_are_published(project: Project) -> None:
    project.drop(A)
    drop(project.inbox, "bad.csv", NO_SKU)
    assert not project.run("ingest_inbox").success
    assert published(project) == expected_products([A])


def test_without_a_database_there_is_nothing_to_publish(project: Project) -> None:
    assert not project.tick(SENSOR).run_requests
    assert project.run("publish_tables").success
    assert not (project.data / "published" / "products.duckdb").exists()


def test_a_deferred_publication_is_made_when_due(outdated: Project) -> None:
    assert published(outdated) == expected_products([A])
    tick = outdated.tick(SENSOR)
    assert not tick.run_requests
    assert "not due yet" in tick.skip_message
    long_ago(outdated)
    (run,) = outdated.do(outdated.tick(SENSOR))
    assert run.success
    assert published(outdated) == expected_products([A, B])
    assert not outdated.tick(SENSOR).run_requests


def test_the_next_run_makes_a_deferred_publication(outdated: Project) -> None:
    long_ago(outdated)
    assert outdated.run("ingest_inbox").success
    assert published(outdated) == expected_products([A, B])


def test_publish_tables_publishes_at_once(outdated: Project) -> None:
    assert outdated.run("publish_tables").success
    assert published(outdated) == expected_products([A, B])


def test_one_run_publishes_at_a_time(outdated: Project) -> None:
    long_ago(outdated)
    (request,) = outdated.tick(SENSOR).run_requests
    run = outdated.instance.create_run_for_job(
        outdated.repository.get_job("publish_tables"),
        tags=request.tags,
        status=dg.DagsterRunStatus.STARTED,
    )
    mark = outdated.engine.settings.run_marks_dir / f"{run.run_id}.run"
    with running(HOLD_MARK, mark):
        assert f"Run {run.run_id} is publishing" in outdated.tick(SENSOR).skip_message
    (again,) = outdated.tick(SENSOR).run_requests  # The first run was killed.
    assert again.run_key != request.run_key
    assert again.tags["dagster/max_retries"] == "0"


def test_a_busy_database_causes_no_storm_of_publish_runs(outdated: Project) -> None:
    long_ago(outdated)
    with duckdb.connect(outdated.data / "products.duckdb"):
        (run,) = outdated.do(outdated.tick(SENSOR))
        assert "is open in another program: this process itself" in outdated.error(run)
        assert "not due yet" in outdated.tick(SENSOR).skip_message
    assert published(outdated) == expected_products([A])
    long_ago(outdated)
    (run,) = outdated.do(outdated.tick(SENSOR))
    assert run.success
    assert published(outdated) == expected_products([A, B])


def test_a_time_share_of_zero_publishes_only_by_publish_tables(tmp_path: Path, home: Path) -> None:
    with project_in(tmp_path, home, publish_time_share=0) as project:
        project.drop(A)
        assert project.run("ingest_inbox").success
        assert not project.tick(SENSOR).run_requests
        assert not project.engine.published.path.exists()
        assert project.run("publish_tables").success
        assert published(project) == expected_products([A])
