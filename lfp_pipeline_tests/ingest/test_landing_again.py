"""Whose bytes are gone gets them back from the inbox, by the job and by the sensor."""

import json
import os
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
from lfp_pipeline.raw_zone import integrity
from lfp_pipeline.raw_zone.desired_state import is_pruned
from lfp_pipeline.raw_zone.status_notes import write_status_note
from lfp_pipeline.sources.inbox_source import InboxSource
from testing.dagster_project import NO_SKU, Project, drop
from testing.engine import LOG, land, tables
from testing.expected_tables import File, expected_products

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Eva", "z"), ("s2", "Cid", "")))

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (as in the tables)
MICROSECOND = timedelta(microseconds=1)

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
    assert project.products == expected_products([A])
    assert {row[0]: row[5] for row in tables(project.engine)["ledger"]}[A.delivery_id] == "merged"
    assert_nothing_is_offered(project)
    assert project.engine.pending_deliveries(LOG) == []


def assert_nothing_is_offered(project: Project) -> None:
    assert project.engine.pending_inbox(LOG).ready == ()
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
    assert project.products == expected_products([A])


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


@ways
def test_what_is_cut_off_is_taken_from_the_inbox(project: Project, way: str) -> None:
    os.truncate(project.engine.raw_zone.find(A.delivery_id).path, 10)
    take_in(project, way)
    assert_it_is_back(project)


@ways
def test_what_is_reverted_gets_its_bytes_back_and_stays_out(project: Project, way: str) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    take_in(project, way)
    assert project.products == []
    assert_nothing_is_offered(project)
    assert verify(project.engine, LOG).problems == ()
    reinstate_delivery(project.engine, A.delivery_id, LOG)
    assert_it_is_back(project)


@ways
def test_what_is_reverted_and_pruned_can_be_reinstated_as_it_is_told(
    project: Project, way: str
) -> None:
    revert_delivery(project.engine, A.delivery_id, LOG)
    prune(project)
    assert_nothing_is_offered(project)
    told = r"Drop its file again, with the time that it had, and run ingest_inbox; then reinstate"
    with pytest.raises(OperationRefusedError, match=told):
        reinstate_delivery(project.engine, A.delivery_id, LOG)
    project.drop(A)
    take_in(project, way)
    assert project.products == []
    reinstate_delivery(project.engine, A.delivery_id, LOG)
    assert_it_is_back(project)


@pytest.mark.parametrize("is_told", [True, False], ids=["touched", "bit rot"])
def test_what_is_damaged_is_removed_and_then_taken_from_the_inbox(
    project: Project, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = project.engine.raw_zone.find(A.delivery_id).path
    damage(raw)
    if not is_told:  # As if nobody had touched it.
        monkeypatch.setattr(integrity, "_is_untouched", lambda raw: raw.exists())
    (problem,) = verify(project.engine, LOG).problems
    assert f"{raw} is not what landed" in problem
    assert "remove it, and land its file again" in problem
    raw.unlink()
    take_in(project, "job")
    assert_it_is_back(project)


@pytest.mark.parametrize("is_told", [True, False], ids=["touched", "bit rot"])
def test_what_is_damaged_is_mended_by_landing_its_file(
    project: Project, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(project.engine.raw_zone.find(A.delivery_id).path)
    if not is_told:
        monkeypatch.setattr(integrity, "_is_untouched", lambda raw: raw.exists())
    assert project.ingest("a.csv").success
    assert_it_is_back(project)


def damage(raw: Path) -> None:
    """Change a byte."""
    raw.chmod(0o644)
    with raw.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"!")


def test_nothing_but_purges_lands_among_the_purges(project: Project) -> None:
    told = purge_products(project.engine, Selection(skus=["s1"]), LOG)
    purge = project.engine.raw_zone.find(str(told.figures["delivery_id"]))
    content, record = purge.path.read_bytes(), purge.path.with_suffix(".json")
    record.chmod(0o644)
    record.write_text("{")
    problem = verify(project.engine, LOG).problems[0]
    assert "Put it back from a copy; or, unless it is that of a purge, remove it" in problem
    record.unlink()
    drop(project.inbox, "purges", content, (purge.delivered_at - EPOCH) // MICROSECOND)
    assert "is for what purge_products deletes" in project.error(project.run("ingest_inbox"))
    assert [product[0] for product in project.products] == ["s2"]


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
    project.engine.raw_zone.find(A.delivery_id).path.unlink()
    project.drop(TWIN)
    assert len(TWIN.content) == len(A.content)
    take_in(project, "job")
    assert project.engine.raw_zone.deliveries("a.csv")[-1].path.read_bytes() == TWIN.content
    assert ("s1", "Eva", "x") in [row[:3] for row in project.products]
    assert_nothing_is_offered(project)


TWIN = File("a.csv", 1_000_000, (("s1", "Eva", "x"), ("s2", "Bob", "y")))
"""Of the same time and size as A."""


@pytest.mark.parametrize("after", ["merge", "revert", "rebuild"])
@ways
def test_a_twin_that_was_dropped_before_an_outcome_is_noted_is_merged(
    project: Project, way: str, after: str
) -> None:
    project.drop(TWIN)
    if after == "revert":
        revert_delivery(project.engine, A.delivery_id, LOG)
    elif after == "rebuild":
        project.engine.warehouse.path.unlink()
        rebuild_products(project.engine, LOG)
    else:
        write_status_note(
            project.engine.raw_zone.find(A.delivery_id).path,
            "merged",
            str(project.engine.warehouse.cached_id()),
        )
    take_in(project, way)
    assert [row[:3] for row in project.products] == list(TWIN.rows)
    assert_nothing_is_offered(project)


def test_a_version_whose_run_died_is_taken_in_beside_its_twin(project: Project) -> None:
    engine = project.engine
    first = replace(A, key="other.csv")
    project.drop(first)
    (file,) = engine.pending_inbox(LOG).ready
    engine.raw_zone.land(InboxSource(project.inbox, file), file.partition_key, LOG)
    project.drop(replace(TWIN, key="other.csv"))
    take_in(project, "job")
    statuses = [row[5] for row in tables(engine)["ledger"] if row[1] == "other.csv"]
    assert statuses == ["merged", "merged"]
    assert_nothing_is_offered(project)


def test_what_is_pruned_and_has_lost_its_note_is_noted_by_the_next_run(project: Project) -> None:
    project.drop(B)
    assert project.run("ingest_inbox").success
    prune_raw(project.engine, 0, LOG, even_if_needed=True)
    for note in (project.data / "raw").glob("*/*.outcome"):
        note.write_text("?")
    runs = project.do(project.tick())
    assert [run.success for run in runs] == [True]
    assert_nothing_is_offered(project)
    assert project.products == expected_products([A, B])


def test_what_has_lost_its_record_is_offered_again(project: Project) -> None:
    project.engine.raw_zone.find(A.delivery_id).path.with_suffix(".json").unlink()
    take_in(project, "sensor")
    assert_it_is_back(project)


def test_a_lost_database_is_told_and_readers_keep_what_they_had(project: Project) -> None:
    newer = File("url.csv", 3_000_000, (("s3", "Cid", ""),))  # It is in no inbox.
    project.engine.ingest(land(project.engine, newer), LOG)
    purge = Selection(skus=["s1"])
    purge_products(project.engine, purge, LOG)
    project.engine.publish(LOG, at_once=True)
    was = published(project)
    assert [product[0] for product in was] == ["s2", "s3"]
    for path in project.data.glob("products.duckdb*"):
        path.unlink()

    (problem,) = verify(project.engine, LOG).problems
    assert problem.startswith("There is no database any more; 3 deliveries had ended. Run ingest")
    assert "The database is gone, or was made anew" in render_status(collect_status(project.engine))
    with pytest.raises(OperationRefusedError, match="There is no database"):
        export_tables(project.engine, LOG)

    project.drop(B)
    assert [run.success for run in project.do(project.tick())] == [True]
    # What was purged is not back, and what the inbox does not have is still missing.
    assert [product[0] for product in project.products] == ["s2"]
    assert published(project) == was
    for job in ("publish_tables", "export_tables"):
        error = project.error(project.run(job))
        assert "The database was made anew, and 1 delivery" in error
    (problem,) = verify(project.engine, LOG).problems
    assert "and are not in yet: 1. Run ingest_inbox" in problem

    assert project.run("ingest_inbox").success
    assert verify(project.engine, LOG).problems == ()
    assert project.run("publish_tables").success
    assert published(project) == project.products
    assert [product[0] for product in project.products] == ["s2", "s3"]
    assert "Problems" not in render_status(collect_status(project.engine))


@pytest.mark.parametrize("files", [[B], [B, File("c.csv", 3_000_000, (("s9", "Zoe", ""),))]])
def test_what_operators_wanted_comes_with_the_first_files(
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
        return engine.land(engine.named_sources(["shop"])["shop"], "shop", LOG)

    first = land_declared(delimiter=";")
    assert engine.ingest(land_declared(delimiter=","), LOG).account.status == "merged"
    assert not caplog.records
    assert land_declared(encoding="utf-8").text_format == TextFormat(delimiter=",")
    assert "run revert_delivery for it, land it again" in caplog.text

    revert_delivery(engine, first.delivery_id, LOG)
    assert land_declared(encoding="utf-8").text_format == TextFormat(encoding="utf-8")
    assert project.run("ingest_inbox").success
    reinstate_delivery(engine, first.delivery_id, LOG)
    (delivery,) = engine.raw_zone.deliveries("shop")
    assert delivery.text_format == TextFormat(encoding="utf-8")
    assert engine.raw_zone.pending_deliveries(engine.warehouse.cached_id(), LOG) == []
    assert {row[3] for row in tables(engine)["products"]} == {first.delivery_id}
