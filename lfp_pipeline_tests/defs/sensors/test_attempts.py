"""Runs are counted once each, some per tick, even after a lost cursor."""

import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import dagster as dg
import pytest

from lfp_pipeline.dagster_support.runs import SENSOR_TAG, VERSION_TAG
from lfp_pipeline.defs.sensors import attempts as counting
from lfp_pipeline.defs.sensors import inbox_sensor
from lfp_pipeline.sources.inbox import QUIET_SECONDS, SETTLE_SECONDS
from testing.dagster_project import PARTITION_TAG, Project, project_in
from testing.expected_tables import File, expected_products
from testing.processes import HOLD_OPEN, running

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))
B = File("b.csv", 2_000_000, (("s2", "Bob", "y"),))
NEVER = File("never.csv", 3_000_000, (("s3", "Cid", "z"),))
"""A file that can never land: a file has the path of its folder in the raw zone."""

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
    """The numbers of run records in the answers of the instance."""
    numbers: list[int] = []
    get = dg.DagsterInstance.get_run_records

    def counting_get(*arguments: object, **named: object) -> Sequence[dg.RunRecord]:
        found = get(*arguments, **named)  # type: ignore[arg-type]
        numbers.append(len(found))
        return found

    monkeypatch.setattr(dg.DagsterInstance, "get_run_records", counting_get)
    return numbers


def earlier_runs(project: Project, number: int, file: File, *, version: str = "1-1") -> None:
    """Add finished runs of the sensor for a version of a file."""
    for _ in range(number):
        project.instance.create_run_for_job(
            project.repository.get_job("ingest_products"),
            tags={SENSOR_TAG: inbox_sensor.NAME, PARTITION_TAG: file.key, VERSION_TAG: version},
            status=dg.DagsterRunStatus.FAILURE,
        )


def fail(project: Project) -> str:
    """Let the requested run of the pending file fail; return the number of the attempt."""
    (request,) = (tick := project.tick()).run_requests
    (run,) = project.do(tick)
    assert not run.success
    return str(request.tags["lfp/attempt"])


def test_a_hopeless_file_needs_attention_and_causes_no_reads_of_old_runs(
    project: Project, read: list[int]
) -> None:
    project.drop(NEVER)
    assert [fail(project) for _ in range(3)] == ["1", "2", "3"]
    assert "1 needing attention" in project.tick().skip_message
    earlier_runs(project, 20, A)
    assert "1 needing attention" in project.tick().skip_message
    read.clear()
    for _ in range(3):
        assert "1 needing attention" in project.tick().skip_message
    assert sum(read) == 0
    project.drop(A)
    (run,) = project.do(project.tick())
    assert run.success
    assert "1 needing attention" in project.tick().skip_message
    assert max(read) <= 1


def test_an_open_run_is_read_until_it_ends(project: Project) -> None:
    project.drop(NEVER)
    (request,) = project.tick().run_requests
    tags = {**request.tags, PARTITION_TAG: NEVER.key}
    run = project.instance.create_run_for_job(
        project.repository.get_job("ingest_products"), tags=tags, status=dg.DagsterRunStatus.STARTED
    )
    earlier_runs(project, 3, A)
    for _ in range(2):
        assert "1 running" in project.tick().skip_message
    project.instance.report_run_failed(run)
    assert fail(project) == "2"
    assert fail(project) == "3"
    assert "1 needing attention" in project.tick().skip_message


@pytest.mark.parametrize("cursor", WRONG_CURSORS)
def test_runs_are_recounted_after_a_lost_or_damaged_cursor(project: Project, cursor: str) -> None:
    project.drop(NEVER)
    keys = {request.run_key for _ in range(2) for request in tried(project)}
    project.cursors[inbox_sensor.NAME] = cursor
    (request,) = tried(project)
    assert request.tags["lfp/attempt"] == "3"
    assert request.run_key not in keys
    project.cursors[inbox_sensor.NAME] = cursor
    assert "1 needing attention" in project.tick().skip_message


def tried(project: Project) -> Sequence[dg.RunRequest]:
    requests: Sequence[dg.RunRequest] = (tick := project.tick()).run_requests
    project.do(tick)
    return requests


def test_a_long_history_is_counted_over_several_ticks_without_requests(
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
    (request,) = (tick := project.tick()).run_requests
    assert request.run_config["ops"]["ingest"]["config"]["files"].keys() == {B.key, NEVER.key}
    assert request.tags["lfp/attempt"] == "3"
    assert max(read) <= 10
    project.do(tick)
    assert project.products == expected_products([B])
    assert "1 needing attention" in project.tick().skip_message


def test_a_file_that_is_not_merged_any_more_gets_another_run_key(project: Project) -> None:
    project.drop(A)
    (first,) = tried(project)
    project.tick()
    for path in project.engine.raw_zone.root.glob("*/*"):
        path.unlink()
    (second,) = project.tick().run_requests
    assert second.run_key != first.run_key
    assert second.tags["lfp/attempt"] == "2"


def test_attempts_are_kept_while_a_file_is_hidden(project: Project) -> None:
    project.drop(NEVER)
    assert [fail(project) for _ in range(3)] == ["1", "2", "3"]
    folder = project.inbox.with_name("hidden")
    project.inbox.rename(folder)
    project.inbox.mkdir()
    project.tick()
    project.inbox.rmdir()
    folder.rename(project.inbox)
    assert "1 needing attention" in project.tick().skip_message


def test_the_cursor_of_many_waiting_files_is_short(project: Project) -> None:
    for number in range(30):
        project.drop(File(f"f{number:02}.csv", number, ((f"s{number}", "n", ""),)))
    assert len(project.tick().cursor) < 30 * 12 + 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has read leases")
def test_a_file_that_is_complete_late_causes_no_recount(
    tmp_path: Path, home: Path, read: list[int]
) -> None:
    with project_in(tmp_path / "own", home, inbox_stable_seconds=None) as project:
        earlier_runs(project, 20, A)
        path = project.inbox / B.key
        (project.inbox / "empty.csv").touch()
        with running(HOLD_OPEN, path, "wb"):
            path.write_bytes(B.content)
            time.sleep(SETTLE_SECONDS)
            assert project.tick().skip_message == "2 still being written."
            time.sleep(SETTLE_SECONDS + 0.1)
            read.clear()
            assert project.tick().skip_message == "2 still being written."
        (request,) = project.tick().run_requests
        assert request.partition_key == B.key
        time.sleep(QUIET_SECONDS)
        requests = project.tick().run_requests
        assert [set(requested(request)) for request in requests] == [{B.key, "empty.csv"}]
        assert sum(read) == 0


def requested(request: dg.RunRequest) -> Collection[str]:
    keys: Collection[str] = request.run_config["ops"]["ingest"]["config"]["files"]
    return keys


def test_a_tick_of_the_daemon_counts_a_long_history_to_its_end(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "RUNS_A_TICK", 10)
    with project_in(tmp_path / "own", home, sensor_watch_seconds=20) as project:
        project.drop(B)
        earlier_runs(project, 35, A)
        started = time.monotonic()
        (request,) = project.tick(started_at=1.0).run_requests
        assert time.monotonic() - started < 10
        assert request.partition_key == B.key


def test_a_run_whose_submission_failed_is_requested_again(project: Project) -> None:
    for file in (A, B):
        project.drop(file)
    (request,) = project.tick().run_requests
    for key in (request.run_key, "another"):
        run = project.instance.create_run_for_job(
            project.repository.get_job(request.job_name),
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": key},
            status=dg.DagsterRunStatus.NOT_STARTED,
        )
    for _ in range(2):
        (again,) = project.tick().run_requests
        assert again.run_key == request.run_key
    project.instance.report_run_failed(run)
    (again,) = project.tick().run_requests
    assert again.tags["lfp/attempt"] == "2"
