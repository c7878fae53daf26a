"""Warnings about implausible times, stale versions and unfinished uploads."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from lfp_pipeline.common.text import lfp_command
from lfp_pipeline.ingest import ingest
from lfp_pipeline.ingest.delivery_warnings import older_version
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from testing.cases import first_fast
from testing.dagster_project import Project, drop, project_in
from testing.engine import LOG
from testing.processes import HOLD_WRITER_LOCK, running
from testing.raw_marks import is_reverted

HEADER = "sku,name,description\n"
DAY = 86_400_000_000
NOW = time.time_ns() // 1000
LONG_AGO = datetime(2020, 1, 1)  # noqa: DTZ001 (as all times of deliveries)


def ingest_version(project: Project, way: str, content: str, microseconds: int) -> str:
    """Drop a version of a.csv and ingest it; return the id of the run."""
    drop(project.inbox, "a.csv", content, microseconds)
    if way == "inbox":
        run = project.run("ingest_inbox")
    elif way == "partition":
        run = project.ingest("a.csv")
    else:
        (run,) = project.do(project.tick())
    assert run.success
    return run.run_id


def names(project: Project) -> dict[str, str]:
    return {sku: name for sku, name, *_ in project.products}


def logged(project: Project, run_id: str) -> str:
    return "\n".join(entry.user_message for entry in project.instance.all_logs(run_id))


def warnings_of(project: Project) -> str:
    project.engine.published.publish(LOG)
    return "\n".join(collect_status(project.engine).warnings)


@pytest.fixture
def hurried(tmp_path: Path, home: Path) -> Iterator[Project]:
    with project_in(tmp_path, home, writer_wait_seconds=0.2) as project:
        yield project


WHOLE = "name,description,sku\nLamp,x,s1\nDesk,y,sku-22\nSofa,z,s3\n"

ways = pytest.mark.parametrize("way", first_fast(["inbox", "sensor"]))


@pytest.mark.parametrize("way", first_fast(["inbox", "partition", "sensor"]))
def test_a_file_from_the_future_causes_warnings_and_its_correction_counts(
    project: Project, way: str
):
    run = ingest_version(project, way, HEADER + "s1,wrong,x\n", NOW + DAY)
    assert project.checks(run)["delivery_times"] is False
    assert "check the clock" in project.metadata("products", "a.csv")["warnings"]
    assert "check the clock" in warnings_of(project)
    assert "check the clock" in logged(project, run)
    time.sleep(0.01)
    run = ingest_version(project, way, HEADER + "s1,right,x\n", time.time_ns() // 1000)
    assert project.checks(run)["delivery_times"] is True
    assert warnings_of(project) == ""
    assert names(project) == {"s1": "right"}
    assert project.tick().run_requests == []


@ways
def test_an_older_version_that_lands_last_causes_a_warning_with_advice(project: Project, way: str):
    ingest_version(project, way, HEADER + "s1,new,x\n", NOW - DAY)
    run = ingest_version(project, way, HEADER + "s1,old,x\n", NOW - 2 * DAY)
    assert names(project) == {"s1": "new"}
    assert project.checks(run)["delivery_times"] is False
    assert "None of its rows counts, though it landed last." in logged(project, run)
    assert "None of its rows counts" in warnings_of(project)
    assert f"touch {project.inbox / 'a.csv'}" in warnings_of(project)
    (project.inbox / "a.csv").touch()
    assert project.run("ingest_inbox").success
    assert names(project) == {"s1": "old"}
    assert "a.csv in the inbox" not in warnings_of(project)


@ways
def test_a_version_that_is_restored_with_its_old_time_causes_a_warning(project: Project, way: str):
    ingest_version(project, way, HEADER + "s1,old,x\n", NOW - 2 * DAY)
    ingest_version(project, way, HEADER + "s1,new,x\n", NOW - DAY)
    time.sleep(0.01)
    assert warnings_of(project) == ""
    run = ingest_version(project, way, HEADER + "s1,old,x\n", NOW - 2 * DAY)
    assert "landed before, and is here again" in logged(project, run)
    assert "a.csv in the inbox is an older version" in warnings_of(project)
    assert project.tick().run_requests == []
    assert names(project) == {"s1": "new"}


def test_a_warning_stays_in_the_status_while_it_holds(project: Project):
    ingest_version(project, "inbox", HEADER + "s1,new,x\n", NOW - DAY)
    ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    drop(project.inbox, "ahead.csv", HEADER + "s2,Lamp,x\n", NOW + DAY)
    assert project.run("ingest_inbox").success
    (project.inbox / "a.csv").unlink()
    for number in range(12):
        drop(project.inbox, f"f{number}.csv", HEADER + f"f{number},Desk,x\n", NOW - DAY)
    assert project.run("ingest_inbox").success
    (ahead,) = project.engine.raw_zone.deliveries("ahead.csv")
    warnings = warnings_of(project)
    assert "None of its rows counts, though it landed last." in warnings
    assert f"{ahead.label}: Its source dates it" in warnings
    revert_delivery(project.engine, ahead.delivery_id, LOG)
    assert "Its source dates it" not in warnings_of(project)
    ingest_version(project, "inbox", HEADER + "s1,newest,x\n", NOW)
    assert warnings_of(project) == ""


def test_of_many_warnings_of_a_kind_few_are_shown_and_the_others_counted(project: Project):
    for number in range(13):
        drop(project.inbox, f"f{number}.csv", HEADER + f"f{number},Desk,x\n", NOW + DAY)
    assert project.run("ingest_inbox").success
    *shown, more = warnings_of(project).splitlines()
    assert len(shown) == 10
    assert more == "And 3 more like these."


def older(project: Project, source: str, newer_at: datetime = LONG_AGO) -> str:
    """Return the warning about an older version from a source."""
    delivery = Delivery("a.csv", LONG_AGO, "0" * 64, source, 1, LONG_AGO, project.data / "a.raw")
    return older_version(delivery, replace(delivery, delivered_at=newer_at), str(project.inbox))


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("{inbox}/shop/a b.csv", "(touch '{inbox}/shop/a b.csv') and run `lfp ingest`; or run "),
        ("/srv/x.csv", "(touch /srv/x.csv) and run `lfp ingest /srv/x.csv --as a.csv`; or"),
        ("{inbox}/a\\x1b.csv", "give its file the present time and run `lfp ingest`; or run "),
        ("https://shop.example/a.csv", "count, run `lfp revert DELIVERY` for each newer one"),
        ("s3://shop/a.csv", "To make this version count, run `lfp revert DELIVERY` for each newer"),
    ],
)
def test_the_advice_is_for_the_kind_of_source(project: Project, source: str, advice: str):
    warnings = older(project, source.format(inbox=str(project.inbox)))
    assert advice.format(inbox=str(project.inbox)) in warnings


def test_a_reverted_newer_version_is_not_in_force(project: Project):
    ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    ingest_version(project, "inbox", HEADER + "s1,new,x\n", NOW - DAY)
    newest = project.engine.raw_zone.deliveries("a.csv")[-1]
    time.sleep(0.01)
    ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    assert "a.csv in the inbox is an older version" in warnings_of(project)
    revert_delivery(project.engine, newest.delivery_id, LOG)  # As the warning advises.
    assert names(project) == {"s1": "old"}
    assert warnings_of(project) == ""
    time.sleep(0.01)
    run = ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    assert "in force" not in logged(project, run)


def test_a_refused_newer_version_is_not_in_force(project: Project):
    ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    drop(project.inbox, "a.csv", "no header\n", NOW - DAY)
    assert not project.run("ingest_inbox").success
    time.sleep(0.01)
    run = ingest_version(project, "inbox", HEADER + "s1,old,x\n", NOW - 2 * DAY)
    assert "in force" not in logged(project, run)
    assert warnings_of(project) == ""


def test_a_reverted_unfinished_upload_is_not_in_force(project: Project):
    ingest_version(project, "inbox", WHOLE[: WHOLE.index("2\nSofa")], NOW - DAY)
    run = ingest_version(project, "inbox", WHOLE, NOW - 2 * DAY)  # As `cp -p` copies the time.
    assert set(names(project)) == {"s1", "sku-22", "s3"}
    assert "in force" not in logged(project, run)
    assert "in force" not in warnings_of(project)


@ways
def test_a_changed_file_with_the_same_time_and_size_is_merged(project: Project, way: str):
    ingest_version(project, way, HEADER + "s1,one,x\n", NOW - DAY)
    ingest_version(project, way, HEADER + "s1,two,x\n", NOW - DAY)
    assert names(project) == {"s1": "two"}
    ingest_version(project, way, HEADER + "s1,six,x\n", NOW - DAY)
    assert names(project) == {"s1": "six"}
    assert project.tick().run_requests == []
    rebuild_products(project.engine, LOG)
    assert names(project) == {"s1": "six"}


@ways
def test_an_unfinished_upload_is_reverted_once_the_whole_file_is_merged(project: Project, way: str):
    ingest_version(project, way, WHOLE[: WHOLE.index("2\nSofa")], NOW - 2 * DAY)
    assert names(project) == {"s1": "Lamp", "sku-2": "Desk"}
    assert "may be cut off" in project.metadata("products", "a.csv")["notes"]
    ingest_version(project, way, WHOLE[: WHOLE.index("3\n")], NOW - DAY)
    assert names(project) == {"s1": "Lamp", "sku-22": "Desk", "s": "Sofa"}
    run = ingest_version(project, way, WHOLE, NOW)
    assert names(project) == {"s1": "Lamp", "sku-22": "Desk", "s3": "Sofa"}
    assert "was an unfinished upload" in logged(project, run)
    assert "It completes an unfinished upload" in warnings_of(project)
    tables = project.products
    rebuild_products(project.engine, LOG)
    assert project.products == tables
    assert project.tick().run_requests == []


def test_the_cut_off_sku_of_an_unfinished_upload_returns_if_that_is_reinstated(project: Project):
    ingest_version(project, "inbox", WHOLE[: WHOLE.index("2\nSofa")], NOW - DAY)
    (cut,) = project.engine.raw_zone.deliveries("a.csv")
    ingest_version(project, "inbox", WHOLE, NOW)
    assert is_reverted(cut.path)
    assert "sku-2" not in names(project)
    assert f"which is reverted: {cut.label}." in warnings_of(project)
    reinstate_delivery(project.engine, cut.delivery_id, LOG)
    warnings = warnings_of(project)
    assert "is reverted:" not in warnings
    assert f"is not reverted: `{lfp_command('revert', cut.delivery_id)}` reverts it." in warnings
    assert project.run("ingest_inbox").success
    assert not is_reverted(cut.path)
    assert names(project)["sku-2"] == "Desk"


def test_a_refused_unfinished_upload_is_reverted_too(project: Project):
    drop(project.inbox, "a.csv", "title\n" + "bad", NOW - DAY)
    assert not project.run("ingest_inbox").success
    (cut,) = project.engine.raw_zone.deliveries("a.csv")
    ingest_version(project, "inbox", "title\n" + "bad,\n" + WHOLE, NOW)
    warnings = warnings_of(project)
    assert f"completes an unfinished upload, which is reverted: {cut.label}." in warnings


def test_a_refused_whole_file_does_not_revert_the_unfinished_upload(project: Project):
    ingest_version(project, "inbox", WHOLE[: WHOLE.index("2\nSofa")], NOW - DAY)
    before = project.products
    drop(project.inbox, "a.csv", WHOLE + "bad\n" * 9, NOW)
    assert not project.run("ingest_inbox").success
    assert project.products == before


@pytest.mark.parametrize("later", first_fast(["inbox", "sensor"]))
def test_a_reversal_that_finds_the_database_busy_is_done_by_the_next_run(
    hurried: Project, monkeypatch: pytest.MonkeyPatch, later: str
):
    drop(hurried.inbox, "b.csv", WHOLE[: WHOLE.index("2\nSofa")], NOW - DAY)
    ingest_version(hurried, "inbox", HEADER + "s9,Chair,x\n", NOW - DAY)
    reconcile = ingest.reconcile_batch
    drop(hurried.inbox, "b.csv", WHOLE, NOW)
    drop(hurried.inbox, "a.csv", HEADER + "s9,Bench,x\n", NOW)
    with ExitStack() as others, monkeypatch.context() as context:

        def then_have_another_run_begin(*arguments: object) -> object:
            done = reconcile(*arguments)
            others.enter_context(running(HOLD_WRITER_LOCK, hurried.data / "products.duckdb"))
            return done

        context.setattr(ingest, "reconcile_batch", then_have_another_run_begin)
        listing = hurried.engine.pending_inbox(LOG)
        found = list(hurried.engine.ingest_all(listing.ready, [], LOG))
        assert [result.account.status for result in found] == ["merged", "merged"]
    assert names(hurried) == {"s1": "Lamp", "sku-2": "Desk", "sku-22": "Desk", "s3": "Sofa"} | {
        "s9": "Bench"
    }
    if later == "inbox":
        assert hurried.run("ingest_inbox").success
    else:
        (run,) = hurried.do(hurried.tick())
        assert run.success
    assert "sku-2" not in names(hurried)
    assert hurried.tick().run_requests == []
    assert hurried.engine.pending_deliveries(LOG) == []


def test_a_reversal_whose_marker_cannot_be_written_is_done_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    ingest_version(project, "inbox", WHOLE[: WHOLE.index("2\nSofa")], NOW - DAY)
    drop(project.inbox, "a.csv", WHOLE, NOW)

    def on_a_full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:
        context.setattr(DesiredStates, "mark_reverted", on_a_full_disk)
        files = project.engine.pending_inbox(LOG).ready
        (done,) = project.engine.ingest_all(files, [], LOG)
    assert done.account.status == "merged"
    assert "an unfinished upload, which the next run reverts: " in done.warnings[0]
    assert "is not reverted yet: [Errno 28] No space left" in caplog.text
    assert "sku-2" in names(project)
    assert project.run("ingest_inbox").success
    assert "sku-2" not in names(project)


def test_a_line_end_at_the_end_needs_no_note(project: Project):
    ingest_version(project, "inbox", HEADER + "s1,Lamp,x\n", NOW - DAY)
    assert "notes" not in project.metadata("products", "a.csv")
