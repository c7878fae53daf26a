"""Runs are counted once each, some at a tick, whatever becomes of the cursor."""

from collections.abc import Sequence

import dagster as dg
import pytest

from lfp_pipeline.dagster_support.runs import SENSOR_TAG, VERSION_TAG
from lfp_pipeline.defs.sensors import attempts as counting
from lfp_pipeline.defs.sensors import inbox_sensor
from testing.dagster_project import PARTITION_TAG, Project
from testing.expected_tables import File, expected_products

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))
B = File("b.csv", 2_000_000, (("s2", "Bob", "y"),))
NEVER = File("never.csv", 3_000_000, (("s3", "Cid", "z"),))
"""It can never land: a file is in the place of its folder."""

WRONG_CURSORS = (
    *("", "{}", "[]", "null", "no JSON", "[" * 100_000, '{"last": null}'),
    '{"last": "gone", "open": [], "tries": {}, "untried": [], "known_until": 0}',
    '{"last": null, "open": [], "tries": {"a.csv": [1]}, "untried": [], "known_until": 0}',
)


@pytest.fixture(autouse=True)
def _no_folder(project: Project) -> None:
    raw = project.data / "raw"
    raw.mkdir()
    (raw / NEVER.key).write_bytes(b"")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records of runs each question to the instance was answered with."""
    numbers: list[int] = []
    ask = dg.DagsterInstance.get_run_records

    def asking(*arguments: object, **named: object) -> Sequence[dg.RunRecord]:
        found = ask(*arguments, **named)  # type: ignore[arg-type]
        numbers.append(len(found))
        return found

    monkeypatch.setattr(dg.DagsterInstance, "get_run_records", asking)
    return numbers


def earlier_runs(project: Project, number: int, file: File, *, version: str = "1-1") -> None:
    """Runs of the sensor that have ended, of whichever version of a file."""
    for _ in range(number):
        project.instance.create_run_for_job(
            project.repository.get_job("ingest_products"),
            tags={SENSOR_TAG: inbox_sensor.NAME, PARTITION_TAG: file.key, VERSION_TAG: version},
            status=dg.DagsterRunStatus.FAILURE,
        )


def fail(project: Project) -> str:
    """Have the sensor try what is pending, and fail; how often it has, as it says."""
    (request,) = (tick := project.tick()).run_requests
    (run,) = project.do(tick)
    assert not run.success
    return str(request.tags["lfp/attempt"])


def test_a_file_that_can_never_go_in_is_given_up_and_costs_no_look_at_old_runs(
    project: Project, read: list[int]
) -> None:
    project.drop(NEVER)
    assert [fail(project) for _ in range(3)] == ["1", "2", "3"]
    assert "1 given up" in project.tick().skip_message
    earlier_runs(project, 20, A)
    assert "1 given up" in project.tick().skip_message
    read.clear()
    for _ in range(3):
        assert "1 given up" in project.tick().skip_message
    assert sum(read) == 0
    project.drop(A)
    (run,) = project.do(project.tick())
    assert run.success
    assert "1 given up" in project.tick().skip_message
    assert max(read) <= 1


def test_a_run_that_has_not_ended_is_looked_at_until_it_has(project: Project) -> None:
    project.drop(NEVER)
    (request,) = project.tick().run_requests
    tags = {**request.tags, PARTITION_TAG: NEVER.key}
    run = project.instance.create_run_for_job(
        project.repository.get_job("ingest_products"),
        tags=tags,
        status=dg.DagsterRunStatus.STARTED,
    )
    earlier_runs(project, 3, A)
    for _ in range(2):
        assert "1 running" in project.tick().skip_message
    project.instance.report_run_failed(run)
    assert fail(project) == "2"
    assert fail(project) == "3"
    assert "1 given up" in project.tick().skip_message


@pytest.mark.parametrize("cursor", WRONG_CURSORS)
def test_with_a_cursor_that_is_lost_or_wrong_runs_are_counted_anew(
    project: Project, cursor: str
) -> None:
    project.drop(NEVER)
    keys = {request.run_key for _ in range(2) for request in tried(project)}
    project.cursors[inbox_sensor.NAME] = cursor
    (request,) = tried(project)
    assert request.tags["lfp/attempt"] == "3"
    assert request.run_key not in keys
    project.cursors[inbox_sensor.NAME] = cursor
    assert "1 given up" in project.tick().skip_message


def tried(project: Project) -> Sequence[dg.RunRequest]:
    requests: Sequence[dg.RunRequest] = (tick := project.tick()).run_requests
    project.do(tick)
    return requests


def test_a_long_history_is_counted_some_at_a_tick_and_nothing_is_asked_for_meanwhile(
    project: Project, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "RUNS_A_TICK", 10)
    project.drop(NEVER)
    fail(project)
    fail(project)
    earlier_runs(project, 35, A)
    project.drop(B)
    project.cursors.clear()
    read.clear()
    for _ in range(3):
        assert project.tick().skip_message.startswith("Counting the earlier runs")
    (one,) = (tick := project.tick()).run_requests
    assert one.run_config["ops"]["ingest"]["config"]["files"].keys() == {B.key, NEVER.key}
    assert one.tags["lfp/attempt"] == "3"
    assert max(read) <= 10
    project.do(tick)
    assert project.products == expected_products([B])
    assert "1 given up" in project.tick().skip_message


def test_a_file_that_was_in_and_is_not_any_more_is_asked_for_by_another_key(
    project: Project,
) -> None:
    project.drop(A)
    (first,) = tried(project)
    project.tick()
    for path in project.engine.raw_zone.root.glob("*/*"):
        path.unlink()
    (second,) = project.tick().run_requests
    assert second.run_key != first.run_key
    assert second.tags["lfp/attempt"] == "2"


def test_what_a_file_was_tried_is_known_when_it_is_hidden_for_a_while(project: Project) -> None:
    project.drop(NEVER)
    assert [fail(project) for _ in range(3)] == ["1", "2", "3"]
    folder = project.inbox.with_name("hidden")
    project.inbox.rename(folder)
    project.inbox.mkdir()
    project.tick()
    project.inbox.rmdir()
    folder.rename(project.inbox)
    assert "1 given up" in project.tick().skip_message


def test_a_cursor_of_many_files_that_wait_is_short(project: Project) -> None:
    for number in range(30):
        project.drop(File(f"f{number:02}.csv", number, ((f"s{number}", "n", ""),)))
    assert len(project.tick().cursor) < 30 * 12 + 200
