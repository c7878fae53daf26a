"""Lost bytes are restored from the inbox, by the job and by the sensor."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.raw_zone import folder_store, pending
from lfp_pipeline.sources.inbox_source import InboxSource
from testing.cases import first_fast
from testing.dagster_project import NO_SKU, Project, drop
from testing.engine import LOG, database_file, land, tables
from testing.expected_tables import File, expected_products
from testing.raw_marks import is_pruned, write_status_note

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Eva", "z"), ("s2", "Cid", "")))

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (as in the tables)
MICROSECOND = timedelta(microseconds=1)

ways = pytest.mark.parametrize("way", first_fast(["job", "sensor"]))


@pytest.fixture
def project(project: Project) -> Project:
    """A project with a merged file, which remains in the inbox."""
    project.drop(A)
    assert project.run("ingest_inbox").success
    return project


def prune(project: Project) -> None:
    prune_raw(project.engine, 0, LOG, include_needed=True)
    assert not project.engine.raw_zone.find(A.delivery_id).path.exists()


def ingest_by(project: Project, way: str) -> None:
    runs = [project.run("ingest_inbox")] if way == "job" else project.do(project.tick())
    assert [run.success for run in runs] == [True]


def assert_restored(project: Project) -> None:
    """Assert that A has its bytes and is merged, and that nothing is pending."""
    raw = project.engine.raw_zone.find(A.delivery_id).path
    assert raw.read_bytes() == A.content
    assert not is_pruned(raw)
    assert project.products == expected_products([A])
    assert {row[0]: row[5] for row in tables(project.engine)["ledger"]}[A.delivery_id] == "merged"
    assert_nothing_is_pending(project)
    assert project.engine.pending_deliveries(LOG) == []


def assert_nothing_is_pending(project: Project) -> None:
    assert project.engine.pending_inbox(LOG).ready == ()
    assert project.tick().run_requests == []


@ways
@pytest.mark.parametrize(
    "lose", [Path.unlink, lambda raw: os.truncate(raw, 10)], ids=["missing", "truncated"]
)
def test_lost_bytes_are_restored_from_the_inbox(
    project: Project, way: str, lose: Callable[[Path], None]
) -> None:
    lose(project.engine.raw_zone.find(A.delivery_id).path)
    ingest_by(project, way)
    assert_restored(project)


@ways
def test_a_pruned_file_that_is_dropped_again_lands_again(project: Project, way: str) -> None:
    prune(project)
    project.drop(A)
    ingest_by(project, way)
    assert_restored(project)


def test_a_pruned_file_that_stays_in_the_inbox_remains_pruned(project: Project) -> None:
    prune(project)
    assert_nothing_is_pending(project)
    assert project.run("ingest_inbox").success
    assert not project.engine.raw_zone.find(A.delivery_id).path.exists()
    assert project.products == expected_products([A])


@ways
def test_a_delivery_that_was_marked_unmerged_is_merged_once_it_is_dropped_again(
    project: Project, way: str
) -> None:
    project.drop(B)
    assert project.run("ingest_inbox").success
    prune_raw(project.engine, 0, LOG)
    revert_delivery(project.engine, B.delivery_id, LOG, ignore_pruned_history=True)
    assert project.products == []
    project.drop(A)
    ingest_by(project, way)
    assert_restored(project)


@ways
def test_a_reverted_delivery_gets_its_bytes_back_and_remains_reverted(
    project: Project, way: str
) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    ingest_by(project, way)
    assert project.products == []
    assert_nothing_is_pending(project)
    assert verify(project.engine, LOG).problems == ()
    reinstate_delivery(project.engine, A.delivery_id, LOG)
    assert_restored(project)


@ways
def test_a_reverted_and_pruned_delivery_can_be_reinstated_as_the_error_says(
    project: Project, way: str
) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    prune(project)
    assert_nothing_is_pending(project)
    advice = (
        r"Land its file again, with the time that it had, and then reinstate it: `touch -d .*Z FILE"
    )
    with pytest.raises(OperationRefusedError, match=advice):
        reinstate_delivery(project.engine, A.delivery_id, LOG)
    project.drop(A)
    ingest_by(project, way)
    assert project.products == []
    reinstate_delivery(project.engine, A.delivery_id, LOG)
    assert_restored(project)


@pytest.mark.parametrize("is_touched", first_fast([True, False]), ids=["touched", "bit rot"])
def test_damaged_bytes_are_restored_after_their_removal(
    project: Project, is_touched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = project.engine.raw_zone.find(A.delivery_id).path
    damage(raw)
    if not is_touched:  # The ctime does not show the damage.
        monkeypatch.setattr(folder_store, "_is_untouched", lambda raw, _: raw.exists())
    (problem,) = verify(project.engine, LOG).problems
    assert f"{raw} is not what landed" in problem
    assert "or land its file again" in problem
    raw.unlink()
    ingest_by(project, "job")
    assert_restored(project)


@pytest.mark.parametrize("is_touched", first_fast([True, False]), ids=["touched", "bit rot"])
def test_damaged_bytes_are_restored_by_landing_their_file(
    project: Project, is_touched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(project.engine.raw_zone.find(A.delivery_id).path)
    if not is_touched:
        monkeypatch.setattr(folder_store, "_is_untouched", lambda raw, _: raw.exists())
    assert project.ingest("a.csv").success
    assert_restored(project)


def damage(raw: Path) -> None:
    """Change a byte."""
    raw.chmod(0o644)
    with raw.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"!")


def test_only_purges_land_in_the_partition_of_purges(project: Project) -> None:
    report = purge_products(project.engine, Selection(skus=["s1"]), LOG)
    purge = project.engine.raw_zone.find(str(report.figures["delivery_id"]))
    content, record = purge.path.read_bytes(), purge.path.with_suffix(".json")
    record.chmod(0o644)
    record.write_text("{")
    problem = verify(project.engine, LOG).problems[0]
    assert "Restore it from a copy; or, unless it belongs to a purge, remove it" in problem
    record.unlink()
    drop(project.inbox, "purges", content, (purge.delivered_at - EPOCH) // MICROSECOND)
    assert "is reserved for purges" in project.error(project.run("ingest_inbox"))
    assert [product[0] for product in project.products] == ["s2"]


def test_a_refused_and_pruned_file_is_not_requested_until_it_is_dropped_again(
    project: Project,
) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    project.run("ingest_inbox")
    prune(project)
    assert project.tick().run_requests == []
    drop(project.inbox, "bad.csv", NO_SKU)
    (request,) = project.tick().run_requests
    assert request.partition_key == "bad.csv"


def test_missing_bytes_of_a_version_need_not_return_if_its_twin_lands(project: Project) -> None:
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    project.drop(TWIN)
    assert len(TWIN.content) == len(A.content)
    ingest_by(project, "job")
    assert project.engine.raw_zone.deliveries("a.csv")[-1].path.read_bytes() == TWIN.content
    assert ("s1", "Eva", "x") in [row[:3] for row in project.products]
    assert_nothing_is_pending(project)


TWIN = File("a.csv", 1_000_000, (("s1", "Eva", "x"), ("s2", "Bob", "y")))
"""Another version of A, with the same time and size."""


@pytest.mark.parametrize("after", first_fast(["merge", "revert", "rebuild"]))
@ways
def test_a_twin_that_was_dropped_before_the_status_note_is_merged(
    project: Project, way: str, after: str
) -> None:
    project.drop(TWIN)
    if after == "revert":
        revert_delivery(project.engine, A.delivery_id, LOG)
    elif after == "rebuild":
        database_file(project.engine).unlink()
        rebuild_products(project.engine, LOG)
    else:
        write_status_note(
            project.engine.raw_zone.find(A.delivery_id).path,
            "merged",
            str(project.engine.warehouse.cached_id()),
        )
    ingest_by(project, way)
    assert [row[:3] for row in project.products] == list(TWIN.rows)
    assert_nothing_is_pending(project)


def test_a_version_whose_run_died_is_merged_beside_its_twin(project: Project) -> None:
    engine = project.engine
    first = replace(A, key="other.csv")
    project.drop(first)
    (file,) = engine.pending_inbox(LOG).ready
    engine.raw_zone.land(InboxSource(project.inbox, file), file.partition_key, LOG)
    project.drop(replace(TWIN, key="other.csv"))
    ingest_by(project, "job")
    statuses = [row[5] for row in tables(engine)["ledger"] if row[1] == "other.csv"]
    assert statuses == ["merged", "merged"]
    assert_nothing_is_pending(project)


def test_the_next_run_restores_the_status_note_of_a_pruned_delivery(project: Project) -> None:
    project.drop(B)
    assert project.run("ingest_inbox").success
    prune_raw(project.engine, 0, LOG, include_needed=True)
    for note in (project.data / "raw").glob("*/*.outcome"):
        note.write_text("?")
    runs = project.do(project.tick())
    assert [run.success for run in runs] == [True]
    assert_nothing_is_pending(project)
    assert project.products == expected_products([A, B])


def test_a_file_whose_record_is_gone_is_requested_again(project: Project) -> None:
    project.engine.raw_zone.find(A.delivery_id).path.with_suffix(".json").unlink()
    ingest_by(project, "sensor")
    assert_restored(project)


def test_a_lost_database_is_reported_and_readers_keep_the_published_copy(project: Project) -> None:
    newer = File("url.csv", 3_000_000, (("s3", "Cid", ""),))  # This file is not in the inbox.
    project.engine.ingest(land(project.engine, newer), LOG)
    purge = Selection(skus=["s1"])
    purge_products(project.engine, purge, LOG)
    project.engine.publish(LOG, at_once=True)
    was = published(project)
    assert [product[0] for product in was] == ["s2", "s3"]
    for path in project.data.glob("products.duckdb*"):
        path.unlink()

    (problem,) = verify(project.engine, LOG).problems
    assert problem.startswith("There is no database any more; 3 deliveries had been processed. Run")
    assert "The database is missing or was rebuilt" in render_status(collect_status(project.engine))
    with pytest.raises(OperationRefusedError, match="There is no database"):
        export_tables(project.engine, LOG)

    project.drop(B)
    assert [run.success for run in project.do(project.tick())] == [True]
    # Purged products have not returned, and files outside the inbox are still missing.
    assert [product[0] for product in project.products] == ["s2"]
    assert published(project) == was
    for job in ("publish_tables", "export_tables"):
        error = project.error(project.run(job))
        assert "The database was rebuilt, and 1 delivery" in error
    (problem,) = verify(project.engine, LOG).problems
    assert "and are not merged: 1. Run `lfp ingest`" in problem

    assert project.run("ingest_inbox").success
    assert verify(project.engine, LOG).problems == ()
    assert project.run("publish_tables").success
    assert published(project) == project.products
    assert [product[0] for product in project.products] == ["s2", "s3"]
    assert "Problems" not in render_status(collect_status(project.engine))


@pytest.mark.parametrize("files", [[B], [B, File("c.csv", 3_000_000, (("s9", "Zoe", ""),))]])
def test_operator_requests_are_applied_with_the_first_files(
    project: Project, files: list[File]
) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    purge_products(project.engine, Selection(skus=["s1"]), LOG)
    for path in project.data.glob("products.duckdb*"):
        path.unlink()
    for file in files:
        project.drop(file)
    project.do(project.tick())
    statuses = {row[0]: row[5] for row in tables(project.engine)["ledger"]}
    assert statuses[A.delivery_id] == "reverted"
    assert "s1" not in [product[0] for product in project.products]


def published(project: Project) -> list[tuple[Any, ...]]:
    with duckdb.connect(project.data / "published/products.duckdb", read_only=True) as copy:
        return copy.execute("FROM products ORDER BY ALL").fetchall()


def test_a_merged_delivery_gets_another_text_format_by_revert_land_and_reinstate(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine, file = project.engine, tmp_path / "shop.csv"
    file.write_bytes(A.content)

    def land_declared(**declared: str) -> Delivery:
        entry = {"name": "shop", "location": str(file), **declared}
        engine.settings.sources_path.write_text(json.dumps({"sources": [entry]}))
        return engine.land(engine.catalog.named_sources(["shop"])["shop"], "shop", LOG)

    first = land_declared(delimiter=";")
    assert engine.ingest(land_declared(delimiter=","), LOG).account.status == "merged"
    assert not caplog.records
    assert land_declared(encoding="utf-8").text_format == TextFormat(delimiter=",")
    assert "run `lfp revert` for it, ingest it" in caplog.text

    revert_delivery(engine, first.delivery_id, LOG)
    assert land_declared(encoding="utf-8").text_format == TextFormat(encoding="utf-8")
    assert project.run("ingest_inbox").success
    reinstate_delivery(engine, first.delivery_id, LOG)
    (delivery,) = engine.raw_zone.deliveries("shop")
    assert delivery.text_format == TextFormat(encoding="utf-8")
    assert pending.pending_deliveries(engine.raw_zone, engine.warehouse.cached_id(), LOG) == []
    assert {row[3] for row in tables(engine)["products"]} == {first.delivery_id}
