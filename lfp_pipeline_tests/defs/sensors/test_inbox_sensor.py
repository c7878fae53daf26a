"""The inbox sensor on a real instance, with the runs that it requests."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import dagster as dg
import duckdb
import pytest

from lfp_pipeline.common.backoff import Backoff
from lfp_pipeline.dagster_support.runs import requested_files
from lfp_pipeline.defs.sensors import inbox_sensor
from lfp_pipeline.errors import LandingError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from testing.cases import first_fast
from testing.dagster_project import HEADER, NO_SKU, PARTITION_TAG, Project, drop, project_in
from testing.engine import LOG
from testing.expected_tables import File, expected_products
from testing.processes import HOLD_MARK, HOLD_OPEN, running
from testing.raw_marks import is_reverted

only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has read leases")

NO_ROOM = LandingError("The disk is full.", permanent=True)

REVERT = """
import sys
from pathlib import Path
from lfp_pipeline.operations import revert
from testing.engine import LOG, engine_at

def stand_still(*_):
    print("noted", flush=True)
    sys.stdin.read()

revert._apply = stand_still
revert.revert_delivery(engine_at(Path(sys.argv[1])), sys.argv[2], LOG)
"""

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))


def small_files(number: int) -> list[File]:
    return [
        File(f"f{index:02}.csv", index * 1_000_000, ((f"s{index % 4}", f"n{index}", ""),))
        for index in range(number)
    ]


def test_a_single_file_is_one_run_of_its_partition_which_the_tick_adds(project: Project) -> None:
    project.drop(A)
    tick = project.tick()
    (request,) = tick.run_requests
    assert (request.job_name, request.partition_key) == ("ingest_products", "a.csv")
    assert request.tags["dagster/max_retries"] == "0"  # Only the sensor retries its runs.
    (added,) = tick.dynamic_partitions_requests
    assert (added.partitions_def_name, added.partition_keys) == ("product_files", ["a.csv"])
    (run,) = project.do(tick)
    assert run.success
    assert list(project.engine.settings.run_marks_dir.iterdir()) == []
    assert project.products == expected_products([A])
    tick = project.tick()
    assert not tick.run_requests
    assert tick.skip_message == "1 merged."


def test_many_files_share_runs_one_a_tick_and_are_merged(tmp_path: Path, home: Path) -> None:
    files = small_files(7)
    with project_in(tmp_path, home, sensor_batch_files=3) as project:
        for file in files:
            project.drop(file)
        requested = []
        while (tick := project.tick()).run_requests:
            (request,) = tick.run_requests
            requested.append(request.job_name)
            assert all(run.success for run in project.do(tick))
        assert requested == ["ingest_inbox", "ingest_inbox", "ingest_products"]
        assert project.products == expected_products(files)
        assert project.materialized("products") == {file.key for file in files}
        assert tick.skip_message == "7 merged."


def opened(project: Project, tick: Any) -> list[dg.DagsterRun]:  # noqa: ANN401 (not exported)
    """Create the runs that a tick requests, as the daemon does, without executing them."""
    return [
        project.instance.create_run_for_job(
            project.repository.get_job(request.job_name),
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": request.run_key},
            status=dg.DagsterRunStatus.STARTED,
        )
        for request in tick.run_requests
    ]


def test_files_are_collected_while_two_runs_are_open(project: Project) -> None:
    files = small_files(6)
    runs = []
    for pair in (files[:2], files[2:4], files[4:]):
        for file in pair:
            project.drop(file)
        runs += opened(project, tick := project.tick())
    assert len(runs) == 2
    assert tick.skip_message == "2 new. 2 collected for the next run. 4 running."
    project.instance.report_run_failed(runs[0])
    (request,) = (tick := project.tick()).run_requests
    requested = request.run_config["ops"]["ingest"]["config"]["files"]
    assert sorted(requested) == ["f00.csv", "f01.csv", "f04.csv", "f05.csv"]
    assert request.tags["lfp/attempt"] == "2"
    project.do(tick)
    assert project.products == expected_products([*files[:2], *files[4:]])


def test_small_files_do_not_wait_for_large_ones(tmp_path: Path, home: Path) -> None:
    rows = tuple((f"s{number}", "Ann", "x" * 50) for number in range(9))
    large = [File(f"large{number}.csv", number * 1_000_000, rows) for number in range(3)]
    small = small_files(4)
    with project_in(tmp_path, home, sensor_batch_bytes=300) as project:
        for file in (*large[:2], *small[:2]):
            project.drop(file)
        ends = opened(project, project.tick())
        assert [sorted(requested_files(run)) for run in ends] == [
            ["large0.csv", "large1.csv"],
            ["f00.csv", "f01.csv"],
        ]
        for file in (large[2], *small[2:]):
            project.drop(file)
        assert "3 collected for the next run" in project.tick().skip_message
        project.instance.report_run_canceled(ends[1])
        (request,) = project.tick().run_requests
        requested = request.run_config["ops"]["ingest"]["config"]["files"]
        assert sorted(requested) == ["f00.csv", "f01.csv", "f02.csv", "f03.csv"]


@contextmanager
def later(action: Callable[[], object]) -> Iterator[None]:
    timer = Timer(0.5, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_tick_of_the_daemon_waits_for_a_file(tmp_path: Path, home: Path) -> None:
    with project_in(tmp_path, home, sensor_watch_seconds=20) as project:
        assert not project.tick().run_requests  # A test of the sensor does not wait.
        with later(lambda: project.drop(A)):
            (request,) = project.tick(started_at=1.0).run_requests
        assert request.partition_key == A.key


def test_a_tick_of_the_daemon_waits_until_files_can_be_requested(
    tmp_path: Path, home: Path
) -> None:
    one, two, three = small_files(3)
    with project_in(tmp_path, home, sensor_watch_seconds=20) as project:
        runs = []
        for file in (one, two):
            project.drop(file)
            runs += opened(project, project.tick(started_at=1.0))
        project.drop(three)
        with later(lambda: project.instance.report_run_canceled(runs[1])):
            (request,) = project.tick(started_at=1.0).run_requests
        requested = request.run_config["ops"]["ingest"]["config"]["files"]
        assert sorted(requested) == [two.key, three.key]


def test_a_tick_waits_no_longer_than_the_setting(tmp_path: Path, home: Path) -> None:
    for seconds in (0, 1):
        with project_in(tmp_path / f"{seconds}", home, sensor_watch_seconds=seconds) as project:
            started = time.monotonic()
            assert not project.tick(started_at=1.0).run_requests
            assert seconds - 0.1 < time.monotonic() - started < seconds + 3


def test_a_run_merges_only_its_requested_files(project: Project) -> None:
    one, two, three = small_files(3)
    project.drop(one)
    project.drop(two)
    tick = project.tick()
    project.drop(three)
    project.do(tick)
    assert project.products == expected_products([one, two])
    (request,) = project.tick().run_requests
    assert request.partition_key == three.key


def test_files_with_odd_names_and_in_folders_are_merged_once(project: Project) -> None:
    names = ["with space.csv", "shop/new/a.csv", "größe 商品.csv", "a..b.csv", "#?%'\",.csv"]
    for name in names:
        drop(project.inbox, name, HEADER + f"{hash(name)},Ann,x\n")
    assert all(run.success for run in project.do(project.tick()))
    assert len(project.materialized("products")) == len(names)
    assert project.tick().skip_message == "5 merged."


def test_one_file_with_an_odd_name_is_a_partition_run(project: Project) -> None:
    drop(project.inbox, "shop/with space.csv", A.content)
    (run,) = project.do(project.tick())
    assert run.success
    assert project.registered == sorted(project.materialized("products"))


@contextmanager
def broken_database(project: Project) -> Iterator[None]:
    """A database that cannot be opened."""
    path = project.engine.warehouse.path
    path.write_bytes(b"no database" * 1_000)
    yield
    path.unlink()


def move_out_and_back(path: Path) -> None:
    path.rename(path.with_name(".away"))
    path.with_name(".away").rename(path)


@pytest.fixture
def failed(project: Project) -> Project:
    """A project with a file that needs attention: three runs of the sensor have failed."""
    project.drop(A)
    with broken_database(project):
        for _ in range(3):
            project.do(project.tick())
    assert not project.tick().run_requests
    return project


@pytest.mark.parametrize("change", first_fast([Path.touch, move_out_and_back]))
def test_a_file_that_needs_attention_is_requested_after_a_change(
    failed: Project, change: Callable[[Path], None]
) -> None:
    change(failed.inbox / A.key)
    (request,) = (tick := failed.tick()).run_requests
    assert request.tags["lfp/attempt"] == "1"
    (run,) = failed.do(tick)
    assert run.success
    assert [row[:3] for row in failed.products] == list(A.rows)


def test_ingest_inbox_tries_a_file_that_needs_attention(failed: Project) -> None:
    assert failed.run("ingest_inbox").success
    assert failed.products == expected_products([A])


def test_all_files_of_a_failed_run_are_retried(project: Project) -> None:
    for file in small_files(2):
        project.drop(file)
    with broken_database(project):
        first = project.tick()
        project.do(first)
    second = project.tick()
    assert [request.job_name for request in second.run_requests] == ["ingest_inbox"]
    assert second.run_requests[0].run_key != first.run_requests[0].run_key
    assert all(run.success for run in project.do(second))
    assert not project.tick().run_requests


@pytest.mark.parametrize("count", first_fast([1, 2]))
def test_a_busy_database_does_not_count_as_an_attempt(
    project: Project, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in small_files(count):
        project.drop(file)
    with duckdb.connect(project.data / "products.duckdb"):  # Another process has the database open.
        (run,) = project.do(project.tick())
        assert "is open in another program: this process itself" in project.error(run)
        tick = project.tick()
        assert not tick.run_requests
        assert f"{count} waiting because another process had the database open" in tick.skip_message
        monkeypatch.setattr(inbox_sensor, "BACKOFF", Backoff(0, 0))
        for _ in range(5):
            (run,) = project.do(project.tick())
            assert not run.success
    (run,) = project.do(project.tick())
    assert run.success
    assert project.products == expected_products(small_files(count))


def test_a_refused_file_is_shown_and_requested_again_after_a_touch(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    (run,) = project.do(project.tick())
    assert not run.success
    tick = project.tick()
    assert not tick.run_requests
    assert tick.skip_message == "1 refused: bad.csv; fix and drop again."
    status = (project.inbox / "bad.csv").stat()
    os.utime(project.inbox / "bad.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    (request,) = project.tick().run_requests
    assert request.tags["lfp/attempt"] == "1"


def test_a_killed_run_is_failed_and_its_file_requested_again(project: Project) -> None:
    project.drop(A)
    (request,) = project.tick().run_requests
    run = project.instance.create_run_for_job(
        project.repository.get_job("ingest_products"),
        tags={**request.tags, PARTITION_TAG: A.key},
        status=dg.DagsterRunStatus.STARTED,
    )
    mark = project.engine.settings.run_marks_dir / f"{run.run_id}.run"
    with running(HOLD_MARK, mark):
        assert "1 running" in project.tick().skip_message
    (again,) = project.tick().run_requests
    failed = project.instance.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.status is dg.DagsterRunStatus.FAILURE
    assert again.tags["lfp/attempt"] == "2"
    assert not mark.exists()


def test_a_file_is_not_requested_while_its_delivery_is_being_reverted(project: Project) -> None:
    project.drop(A)
    assert project.run("ingest_inbox").success
    other = File("b.csv", A.microseconds, A.rows)
    with running(REVERT, project.data, A.delivery_id):
        assert is_reverted(project.engine.raw_zone.find(A.delivery_id).path)
        tick = project.tick()
        assert not tick.run_requests
        assert tick.skip_message.startswith("1 running")
        project.drop(other)
        assert [request.partition_key for request in project.tick().run_requests] == [other.key]
    (project.inbox / other.key).unlink()
    # The process was killed: the next run completes the reversal.
    (run,) = project.do(project.tick())
    assert run.success
    assert project.products == []
    assert "1 reverted or dismissed: a.csv" in project.tick().skip_message


def test_after_the_database_is_deleted_no_file_counts_as_merged(project: Project) -> None:
    project.drop(A)
    project.do(project.tick())
    project.engine.warehouse.path.unlink()
    (run,) = project.do(project.tick())
    assert run.success
    assert project.products == expected_products([A])


def test_a_file_that_is_missing_at_the_start_fails_the_run_with_the_reason(
    project: Project,
) -> None:
    project.drop(A)
    tick = project.tick()
    (project.inbox / A.key).unlink()
    (run,) = project.do(tick)
    assert "There is no file a.csv in the inbox" in project.error(run)
    assert project.tick().skip_message == "The inbox is empty."


def test_a_missing_file_does_not_affect_the_others_of_its_run(project: Project) -> None:
    gone, stays = small_files(2)
    project.drop(gone)
    project.drop(stays)
    tick = project.tick()
    (project.inbox / gone.key).unlink()
    (run,) = project.do(tick)
    assert run.success
    assert project.products == expected_products([stays])


@pytest.mark.parametrize("number", first_fast([1, 2]))
def test_a_file_whose_run_was_killed_after_the_commit_counts_as_merged(
    project: Project, number: int
) -> None:
    files = small_files(number)
    for file in files:
        project.drop(file)
    project.do(project.tick())
    for outcome in project.engine.raw_zone.root.glob("*/*.outcome"):
        outcome.unlink()
    (run,) = project.do(project.tick())
    assert run.success
    assert project.tick().skip_message == f"{number} merged."


def test_a_relaunched_run_does_not_disturb_the_sensor(project: Project) -> None:
    for file in small_files(2):
        project.drop(file)
    (request,) = project.tick().run_requests
    project.run("ingest_inbox", request.tags)
    project.drop(A)
    assert [request.partition_key for request in project.tick().run_requests] == [A.key]


def test_an_inbox_that_cannot_be_read_is_an_error_and_not_empty(project: Project) -> None:
    project.inbox.rmdir()
    with pytest.raises(LandingError, match=r"The inbox .* cannot be read"):
        project.tick()


def test_an_empty_inbox_is_a_skip_with_a_summary(project: Project) -> None:
    tick = project.tick()
    assert not tick.run_requests
    assert tick.skip_message == "The inbox is empty."


def test_a_recently_changed_file_is_not_requested(tmp_path: Path, home: Path) -> None:
    with project_in(tmp_path, home, inbox_stable_seconds=60) as project:
        project.drop(A)
        assert project.tick().skip_message.startswith("1 still being written")
        assert project.engine.pending_deliveries(LOG) == []


@only_on_linux
def test_a_file_that_is_open_for_writing_is_not_requested(project: Project) -> None:
    for file in small_files(2):
        project.drop(file)
    with running(HOLD_OPEN, project.inbox / "f00.csv", "ab"):
        tick = project.tick()
        assert [request.partition_key for request in tick.run_requests] == ["f01.csv"]
        project.do(tick)
        assert project.tick().skip_message == "1 still being written. 1 merged."
    project.do(project.tick())
    assert project.products == expected_products(small_files(2))


@only_on_linux
@pytest.mark.parametrize("count", first_fast([1, 2]))
def test_a_file_that_is_opened_for_writing_after_its_request_counts_no_attempt(
    tmp_path: Path, home: Path, count: int
) -> None:
    files = small_files(count)
    with project_in(tmp_path, home, sensor_max_attempts=1) as project:
        for file in files:
            project.drop(file)
        tick = project.tick()
        with running(HOLD_OPEN, project.inbox / files[0].key, "ab"):
            (run,) = project.do(tick)
            assert run.success == (count > 1)  # Then the others are merged.
            if count == 1:
                assert "f00.csv is still being written" in project.error(run)
            assert "1 still being written" in project.tick().skip_message
        (run,) = project.do(project.tick())
        assert run.success
        assert project.products == expected_products(files)
        assert project.tick().skip_message == f"{count} merged."


@only_on_linux
def test_a_skipped_file_counts_no_attempt_and_the_others_of_its_run_do(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_files(2)
    with project_in(tmp_path, home, sensor_max_attempts=1) as project:
        for file in files:
            project.drop(file)
        tick = project.tick()
        with running(HOLD_OPEN, project.inbox / "f00.csv", "ab"), monkeypatch.context() as broken:
            broken.setattr(RawZone, "land", lambda *_: (_ for _ in ()).throw(NO_ROOM))
            project.do(tick)
        tick = project.tick()
        assert [request.partition_key for request in tick.run_requests] == ["f00.csv"]
        project.do(tick)
        assert "1 needing attention: f01.csv" in project.tick().skip_message


def test_files_that_cannot_be_ingested_are_named_and_stop_nothing(project: Project) -> None:
    project.drop(A)
    (project.inbox / "link.csv").symlink_to(project.inbox / A.key)
    (project.inbox / "a.csv.md5").write_bytes(b"abc")
    (run,) = project.do(project.tick())
    assert run.success
    left_out = "In the inbox, 1 skipped: link.csv (a link); see `lfp status`. 1 ignored by name: "
    assert left_out in project.tick().skip_message
    (warning,) = [
        entry.user_message
        for entry in project.instance.all_logs(run.run_id)
        if entry.level == logging.WARNING
    ]
    assert warning == (
        f"In the inbox {project.inbox}: 1 skipped: link.csv (a link); see `lfp status`. "
        "1 ignored by name: a.csv.md5."
    )
