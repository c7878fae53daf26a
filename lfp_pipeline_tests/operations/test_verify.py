"""Damage in the tables or the raw zone is found, and reported with advice."""

import errno
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_in_workspace
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.operations import Report
from lfp_pipeline.operations import verify as verification
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.raw_zone import index_scan
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.warehouse.invariants import INVARIANTS
from testing.cases import first_fast
from testing.dagster_project import NO_SKU, Project, drop, query
from testing.engine import LOG, database_file, editing, engine_at, land, tables
from testing.expected_tables import File
from testing.raw_marks import clear_reverted, mark_reverted

A = File(
    "a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Cid", ""), ("s9", "Dot"))
)
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s4", "Ann", "w"), ("s4", "Eva", "v")))
C = File("c.csv", 3_000_000, (("s2", "Cid", "c"), ("s5", "Dot", "d"), ("s6", "Dot", "")))
D = File("d.csv", 4_000_000, (("s1", "Out", "o"),))
SAME_AS_B = File("b.csv", 2_500_000, B.rows)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with rejects, a redelivery, a reversal, a reinstatement, a purge, a refusal."""
    folder = tmp_path_factory.mktemp("stocked")
    engine = engine_at(folder)
    for file in (A, B, SAME_AS_B, C, D):
        engine.ingest(land(engine, file), LOG)
    revert_delivery(engine, C.delivery_id, LOG)
    reinstate_delivery(engine, C.delivery_id, LOG)
    prune_raw(engine, 0, LOG)  # B, which the tables do not need.
    revert_delivery(engine, D.delivery_id, LOG, ignore_pruned_history=True)
    purge_products(engine, Selection(skus=["s5", "s9"]), LOG)
    drop(folder / "inbox", "bad.csv", NO_SKU)
    list(engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG))
    engine.published.publish(LOG)
    return folder


@pytest.fixture
def engine(stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine of a copy that a test may damage."""
    monkeypatch.setattr(verification, "_NOTING_SECONDS", 0.05)
    monkeypatch.setattr(index_scan, "_STABLE_NS", -1)  # Recent changes count as stable.
    return engine_at(shutil.copytree(stocked, tmp_path / "data"))


def change(engine: Engine, sql: str) -> None:
    with editing(engine) as connection:
        connection.execute(sql)


def problems(engine: Engine, *, full: bool = False) -> tuple[str, ...]:
    before = tables(engine)
    found = verify(engine, LOG, full=full).problems
    assert tables(engine) == before
    return found


def assert_found(engine: Engine, *expected: str) -> None:
    """Check that these problems and no others are found, each with advice at its end."""
    found = problems(engine)
    assert [problem[: len(begin)] for problem, begin in zip(found, expected, strict=True)] == [
        *expected
    ]
    assert all(problem.endswith(".") for problem in found)


@pytest.mark.parametrize("operate", [verify, partial(export_tables, formats=["csv"])])
def test_what_changes_no_table_leaves_a_current_copy_current(
    engine: Engine, operate: Callable[[Engine, logging.Logger], Report]
) -> None:
    database_file(engine)
    engine.published.publish(LOG)
    published = engine.published.last
    operate(engine, LOG)
    assert not engine.published.is_stale
    assert engine.published.publish(LOG) is None
    assert replace(engine.published.last, copied=published.copied) == published
    engine.ingest(land(engine, File("new.csv", 9_000_000, (("n1", "New", ""),))), LOG)
    assert verify(engine, LOG).problems == ()
    assert engine.published.is_stale
    assert engine.published.publish(LOG)
    with engine.published.session() as connection:
        assert connection.execute("SELECT count(*) FROM products WHERE sku = 'n1'").fetchall() == [
            (1,)
        ]
        logged = connection.execute("FROM operations").fetchall()
    assert logged == query(engine.settings.data_dir, "FROM operations")
    assert len(logged) >= 2


@pytest.mark.parametrize("full", first_fast([False, True]))
def test_intact_data_has_no_problems(engine: Engine, full: bool) -> None:
    beside = set(engine.settings.data_dir.iterdir())
    report = verify(engine, LOG, full=full)
    assert report.problems == ()
    assert report.summary.startswith("0 problems.")
    assert "Pending: 0 deliveries." in report.summary
    assert set(engine.settings.data_dir.iterdir()) == beside
    logged = query(engine.settings.data_dir, "SELECT operation, summary FROM operations")
    assert logged[-1] == ("verify", report.summary)


def test_row_numbers_after_skipped_rows_are_valid(tmp_path: Path) -> None:
    """Blank rows and repeated headers have row numbers, but are not counted as rows."""
    engine = engine_at(tmp_path)
    text = b"name,sku,description\nAnn,s1,\nName,SKU,Description\n,,\n,\nBob,s2,\n"
    drop(engine.settings.inbox_dir, "skips.csv", text)
    list(engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG))
    assert [row[5] for row in tables(engine)["products"]] == [1, 5]
    engine.published.publish(LOG)
    assert problems(engine, full=True) == ()


BROKEN_TABLES = {
    "INSERT INTO product_rows FROM product_rows WHERE sku = 's1'; "
    "INSERT INTO name_counts VALUES ('Zoe', 0); DELETE FROM name_counts WHERE name = 'Zoe'; "
    "UPDATE name_counts SET no_of_products = 2 WHERE name = 'Ann'": (
        "Skus that are in products more than once: 1 (s1). Run `lfp rebuild`"
    ),
    "UPDATE name_counts SET no_of_products = 7 WHERE name = 'Ann'": (
        "Names whose number in name_counts is not that of a recount: 1 (Ann). Materialize"
    ),
    "INSERT INTO name_counts VALUES ('Zoe', 1), ('Yan', 0)": (
        "Names whose number in name_counts is not that of a recount: 2 (Yan, Zoe). "
    ),
    "DELETE FROM name_counts WHERE name = 'Eva'": (
        "Names whose number in name_counts is not that of a recount: 1 (Eva). "
    ),
    "INSERT INTO name_counts FROM name_counts WHERE name = 'Ann'": (
        "Names whose number in name_counts is not that of a recount: 1 (Ann). "
    ),
    "UPDATE deliveries SET rows_inserted = rows_inserted + 1 WHERE partition_key = 'a.csv'": (
        f"Merged deliveries whose rows do not add up: 1 ({A.label}). "
    ),
    "UPDATE deliveries SET rows_deleted = 0 WHERE kind = 'deletion'": (
        "Merged deliveries whose rows do not add up: 1 (purges#"
    ),
    "DELETE FROM rejected_rows": (f"Merged deliveries whose rows do not add up: 1 ({A.label}). "),
    "INSERT INTO deliveries SELECT * REPLACE (99 AS ledger_number) FROM deliveries "
    "WHERE partition_key = 'c.csv'": (
        f"Deliveries with more than one row in the ledger: 1 ({C.label}). "
    ),
    "INSERT INTO deliveries SELECT * REPLACE ('x.csv#1#2' AS delivery_id, 'failed' AS status) "
    f"FROM deliveries WHERE delivery_id = '{D.delivery_id}'": (
        "Numbers that more than one row of the ledger has: 1 ("
    ),
    "UPDATE product_rows SET ledger_number = 99 WHERE sku = 's3'": (
        "Skus of products whose delivery is not merged, according to the ledger: 1 (s3). "
    ),
    f"UPDATE product_rows SET ledger_number = (SELECT ledger_number FROM deliveries "
    f"WHERE delivery_id = '{D.delivery_id}'), row_number = 1 WHERE sku = 's3'": (
        "Skus of products whose delivery is not merged, according to the ledger: 1 (s3). "
    ),
    "UPDATE product_rows SET row_number = 5 WHERE sku = 's3'": (
        "Skus of products with a row number that their delivery does not have: 1 (s3). "
    ),
    "UPDATE product_rows SET row_number = 0": (
        "Skus of products with a row number that their delivery does not have: 5 "
        "(s1, s2, s3, s4, s6). "
    ),
    "UPDATE product_rows SET row_number = 4 WHERE sku = 's3'": (
        "Skus of products whose row is a reject, according to the ledger: 1 (s3). "
    ),
    "UPDATE deliveries SET rows_superseded = 2, rows_inserted = 1, rows_updated = 0 "
    "WHERE partition_key = 'c.csv'": (
        "Deliveries with more products than rows that can win, according to the ledger: "
        f"1 ({C.label}). "
    ),
    "UPDATE deletions SET sku = 's6' WHERE sku = 's9'": (
        "Skus of products that are older than the last deletion of their sku: 1 (s6). "
    ),
    "INSERT INTO deletions FROM deletions WHERE sku = 's9'": (
        "Skus that are in deletions more than once: 1 (s9). "
    ),
    "UPDATE deletions SET delivered_at = '2000-01-01' WHERE sku = 's9'": (
        "Skus in deletions without a merged deletion of that time, according to the ledger: "
        "1 (s9). "
    ),
    f"UPDATE deletions SET delivery_id = '{A.delivery_id}' WHERE sku = 's9'": (
        "Skus in deletions without a merged deletion of that time, according to the ledger: "
        "1 (s9). "
    ),
}


@pytest.mark.parametrize(
    ("sql", "problem"),
    BROKEN_TABLES.items(),
    ids=[problem.partition(":")[0] for problem in BROKEN_TABLES.values()],
)
def test_an_edited_table_is_found(engine: Engine, sql: str, problem: str) -> None:
    change(engine, sql)
    assert_found(engine, problem)


def test_every_invariant_is_violated_by_one_of_these() -> None:
    for invariant in INVARIANTS:
        begin = invariant.description[0].upper() + invariant.description[1:]
        assert any(problem.startswith(begin) for problem in BROKEN_TABLES.values())


def test_many_offenders_are_counted_and_the_first_named(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    many = File("a.csv", 1, tuple((f"s{number:03}", "Ann", "") for number in range(200)))
    engine.ingest(land(engine, many), LOG)
    change(engine, "UPDATE product_rows SET row_number = 201")
    (problem,) = problems(engine)
    assert ": 200 (s000, s001, s002, s003, s004 and 195 more). Run `lfp rebuild`" in problem


def raw_file(engine: Engine, file: File) -> Path:
    return engine.raw_zone.find(file.delivery_id).path


def change_a_byte(raw: Path) -> None:
    """Change a byte; the size and the modification time remain."""
    before = raw.stat()
    raw.chmod(0o644)
    with raw.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"!")
    os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("file", first_fast([A, D]), ids=["merged", "reverted"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [(change_a_byte, "is not what landed: its sha256"), (Path.unlink, "is gone")],
)
def test_a_changed_or_missing_raw_file_is_found(
    engine: Engine, file: File, damage: Callable[[Path], None], message: str
) -> None:
    raw = raw_file(engine, file)
    damage(raw)
    assert_found(engine, f"{raw} {message}")
    assert f"FILE; lfp ingest FILE --as {file.key}`." in problems(engine)[0]


def test_a_missing_record_is_found(engine: Engine) -> None:
    raw_file(engine, A).with_suffix(".json").unlink()
    assert_found(engine, f"Merged deliveries without a record in the raw zone: 1 ({A.label}). Land")


def test_an_unreadable_record_is_found(engine: Engine) -> None:
    record = raw_file(engine, A).with_suffix(".json")
    record.chmod(0o644)
    record.write_text("{")
    assert_found(
        engine,
        f"The record {record} cannot be read",
        f"Merged deliveries without a record in the raw zone: 1 ({A.label}). Land",
    )


def test_a_pruned_and_needed_delivery_is_found(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    pruned = sorted(file.label for file in (A, C, SAME_AS_B))
    assert_found(
        engine,
        "Pruned deliveries that the tables need, and a rebuild would lose: 3 "
        f"({', '.join(pruned)}). Land their files again",
    )


NOT_NOTED = "Deliveries whose status notes differ from the ledger: 1 ("


@pytest.mark.parametrize("file", first_fast([A, D]), ids=["merged", "reverted"])
def test_a_missing_status_note_is_found_and_restored_by_ingest_inbox(
    engine: Engine, file: File
) -> None:
    raw_file(engine, file).with_suffix(".outcome").unlink()
    assert_found(engine, f"{NOT_NOTED}{file.label}). Run `lfp ingest`")
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))
    assert problems(engine) == ()


@pytest.mark.parametrize("said", first_fast(["refused", "reverted"]))
def test_a_wrong_status_note_is_found_and_corrected_by_a_rebuild(engine: Engine, said: str) -> None:
    note = raw_file(engine, A).with_suffix(".outcome")
    note.write_text(f"{said} {engine.warehouse.cached_id()}\n")
    assert_found(engine, f"{NOT_NOTED}{A.label}). Run")
    rebuild_products(engine, LOG)
    assert problems(engine) == ()


def test_a_delivery_noted_as_merged_that_is_not_is_merged_by_a_rebuild(engine: Engine) -> None:
    """No sensor would ever offer it again."""
    delivery = land(engine, File("e.csv", 9_000_000, (("s7", "Eve", ""),)))
    note = delivery.path.with_suffix(".outcome")
    note.write_text(f"merged {engine.warehouse.cached_id()}\n")
    assert engine.pending_deliveries(LOG) == []
    assert_found(engine, f"{NOT_NOTED}{delivery.label}). Run")
    rebuild_products(engine, LOG)
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))
    assert problems(engine) == ()


def test_a_status_note_written_shortly_after_is_no_problem(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_NOTING_SECONDS", 1.5)
    note = raw_file(engine, A).with_suffix(".outcome")
    content = note.read_bytes()
    note.unlink()
    noting = threading.Timer(0.5, note.write_bytes, [content])
    noting.start()
    assert problems(engine) == ()
    noting.join()


def test_pending_deliveries_are_counted_and_no_problem(engine: Engine) -> None:
    land(engine, File("e.csv", 9_000_000, (("s7", "Eve", ""),)))
    clear_reverted(raw_file(engine, D))
    for full in (False, True):
        report = verify(engine, LOG, full=full)
        assert report.problems == ()
        assert report.figures["pending"] == 2
        assert "Pending: 2 deliveries." in report.summary


def test_a_rebuild_is_not_compared_while_a_reversal_is_pending(engine: Engine) -> None:
    mark_reverted(raw_file(engine, A))
    assert problems(engine) == ()
    (problem,) = problems(engine, full=True)
    assert problem == (
        "Pending reversals, so that no rebuild can be compared: 1 "
        f"({A.label}). Run `lfp ingest`, then verify again."
    )
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))
    assert problems(engine, full=True) == ()


def test_a_missing_ledger_row_is_found(engine: Engine) -> None:
    change(engine, "DELETE FROM deliveries WHERE partition_key = 'a.csv'")
    found = problems(engine)
    assert found[0].startswith(
        "Skus of products whose delivery is not merged, according to the ledger: 1 (s3). "
    )


def published(engine: Engine) -> Path:
    engine.published.path.chmod(0o644)
    return engine.published.path


def test_an_edited_published_copy_is_found(engine: Engine) -> None:
    with duckdb.connect(published(engine)) as connection:
        connection.execute("DELETE FROM name_counts WHERE name = 'Ann'")
    assert_found(
        engine,
        "In the published copy, names whose number in name_counts is not that of a recount: 1 "
        f"(Ann). Remove {engine.published.path}, and run `lfp publish`.",
    )


def test_an_unreadable_published_copy_is_found_and_the_advice_works(engine: Engine) -> None:
    published(engine).write_bytes(b"no database" * 1000)
    assert_found(engine, "The published copy cannot be read: ")
    engine.published.path.unlink()
    engine.published.publish(LOG)
    assert problems(engine) == ()


def test_a_missing_published_copy_is_no_problem(engine: Engine) -> None:
    shutil.rmtree(engine.published.path.parent)
    assert problems(engine) == ()


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (
            "UPDATE product_rows SET description = 'edited' WHERE sku IN ('s1', 's6')",
            "Rows of products that differ from a rebuild: 2 (s1, s6). The tables were edited",
        ),
        (
            (
                "DELETE FROM product_rows WHERE sku = 's3'; "
                "UPDATE name_counts SET no_of_products = 1 WHERE name = 'Cid'"
            ),
            "Rows of products that differ from a rebuild: 1 (s3). ",
        ),
        (
            "DELETE FROM deletions WHERE sku = 's9'",
            "Rows of deletions that differ from a rebuild: 1 (s9). ",
        ),
    ],
)
def test_an_edit_that_keeps_the_other_invariants_is_found_by_a_rebuild(
    engine: Engine, sql: str, problem: str
) -> None:
    change(engine, sql)
    assert problems(engine) == ()
    found = problems(engine, full=True)
    assert found[0].startswith(problem)
    assert list(engine.settings.data_dir.glob(".rebuild*")) == []


def test_deliveries_merged_meanwhile_are_no_problem(engine: Engine) -> None:
    """Other processes merge while the raw files are hashed and the rebuild runs."""
    files = [File("e.csv", 10_000_000 + n, ((f"t{n}", "Eve", str(n)),)) for n in range(4)]

    def go_on() -> None:
        other = engine_at(engine.settings.data_dir)
        for file in files:
            other.ingest(land(other, file), LOG)

    going_on = threading.Thread(target=go_on)
    going_on.start()
    found = [problem for _ in range(2) for problem in verify(engine, LOG, full=True).problems]
    going_on.join()
    assert found == []
    assert problems(engine, full=True) == ()


def test_a_delivery_pruned_meanwhile_is_no_problem(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = engine.raw_zone.verified

    def pruned_first(delivery: Delivery, *, full: bool) -> AbstractContextManager[Path]:
        prune_raw(engine, 0, LOG, include_needed=delivery.delivery_id == A.delivery_id)
        return look(delivery, full=full)

    monkeypatch.setattr(engine.raw_zone, "verified", pruned_first)
    assert verify(engine, LOG).problems == ()


def test_hashing_does_not_block_writers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    look = engine.raw_zone.verified
    merged: list[Delivery] = []

    def others_write_meanwhile(delivery: Delivery, *, full: bool) -> AbstractContextManager[Path]:
        if not merged:
            at_once = replace(engine.warehouse, writer_wait_seconds=0)
            new = land(engine, File("e.csv", 10_000_000, (("t", "Eve", ""),)))
            zone = RawZone.of(engine.settings)
            (done,) = ingest([new], zone, engine.settings, at_once, LOG)
            assert done.account.status == "merged"
            merged.append(new)
        return look(delivery, full=full)

    monkeypatch.setattr(engine.raw_zone, "verified", others_write_meanwhile)
    assert verify(engine, LOG).problems == ()
    assert merged


def test_a_dry_run_reports_what_would_be_checked(engine: Engine) -> None:
    before = query(engine.settings.data_dir, "FROM operations")
    report = verify(engine, LOG, full=True, dry_run=True)
    assert "hash 6 raw files of 0." in report.summary
    assert "rebuild the database" in report.summary
    assert query(engine.settings.data_dir, "FROM operations") == before


def test_verify_without_a_database_finds_nothing(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    assert verify(engine, LOG).problems == ()
    assert not database_file(engine).exists()


def test_the_job_fails_and_shows_the_problems(project: Project) -> None:
    project.drop(B)
    assert project.run("ingest_inbox").success
    assert project.run("verify").success
    database = project.data / "products.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute("UPDATE product_rows SET description = 'edited' WHERE sku = 's1'")
        connection.execute("UPDATE name_counts SET no_of_products = 9 WHERE name = 'Eva'")
    run = project.run("verify", config={"ops": {"check_invariants": {"config": {"full": True}}}})
    assert not run.success
    (failed,) = [event for event in run.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    summary, *lines = failure.description.splitlines()
    assert summary.startswith("3 problems.")
    assert [line.partition(":")[0] for line in lines] == [
        "Names whose number in name_counts is not that of a recount",
        "Rows of products that differ from a rebuild",
        "Rows of name_counts that differ from a rebuild",
    ]
    shown = failure.metadata["all_problems"].records
    assert [record.data["problem"] for record in shown] == lines
    assert failure.metadata["problems"].value == 3
    assert query(project.data, "SELECT count(*) FROM operations") == [(2,)]


def test_the_schedule_runs_the_job_once_it_is_switched_on(project: Project) -> None:
    schedule = project.repository.get_schedule_def("verify_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 4 * * *"
    with dg.build_schedule_context(instance=project.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    project.drop(B)
    assert project.run("ingest_inbox").success
    assert project.run(schedule.job_name, request.tags, request.run_config).success


def test_a_rebuild_is_not_compared_if_the_raw_zone_is_damaged(engine: Engine) -> None:
    raw = raw_file(engine, A)
    change_a_byte(raw)
    problem, compared = problems(engine, full=True)
    assert f"{raw} is not what landed" in problem
    assert compared.startswith("The tables were not compared with a rebuild.")


def test_a_record_of_another_kind_is_found(engine: Engine) -> None:
    record = raw_file(engine, A).with_suffix(".json")
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"kind": "products"', '"kind": "deletion"'))
    assert_found(
        engine,
        "Deliveries whose records have another kind than the ledger, products or deletion: 1 "
        f"({A.label}).",
    )


def test_a_delivery_that_a_rebuild_cannot_read_is_reported_as_such(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(delivery: Delivery, folder: Path, options: ReadOptions) -> list[PlainText]:
        if delivery.delivery_id == C.delivery_id:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain_texts(delivery, folder, options)

    monkeypatch.setattr(batch_in_workspace, "plain_texts", fail)
    problem, compared = problems(engine, full=True)
    assert problem.startswith(f"{C.label}: [Errno 28] No space left on device.")
    assert compared.startswith("The tables were not compared")


def test_a_wrong_status_note_of_a_pruned_delivery_is_found(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    note = raw_file(engine, A).with_suffix(".outcome")
    note.write_text(f"refused {engine.warehouse.cached_id()}\n")
    assert any(
        f"status notes differ from the ledger: 1 ({A.label})" in problem
        for problem in problems(engine)
    )


def test_a_wrong_raw_index_is_found(engine: Engine) -> None:
    path = engine.raw_zone.index.path
    engine.raw_zone.index.disk_bytes()
    assert not verify(engine, LOG).problems
    with closing(sqlite3.connect(path)) as index, index:
        index.execute("UPDATE deliveries SET size_bytes = 1 WHERE key = 'a.csv'")
    (problem,) = verify(engine, LOG).problems
    assert f"that {path} has otherwise than the raw zone: 1 (a.csv#" in problem
    path.unlink()
    assert not verify(engine, LOG).problems


def test_a_truncated_raw_file_is_reported_once(engine: Engine) -> None:
    engine.raw_zone.index.disk_bytes()
    raw = engine.raw_zone.find(A.delivery_id).path
    raw.chmod(0o600)
    os.truncate(raw, 3)
    (problem,) = verify(engine, LOG).problems
    assert str(raw) in problem
