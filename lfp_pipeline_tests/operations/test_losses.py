"""Merged rows and deletions are not lost silently, and lost rows can land again."""

import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import write_ahead_logs
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.ingest import ingest
from lfp_pipeline.model.delivery import Delivery, label_of
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.operations import rebuild
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.sources.inbox import list_inbox
from lfp_pipeline.warehouse.ledger import mark_unmerged
from testing.cases import first_fast
from testing.engine import (
    LOG,
    assert_invariants_hold,
    database_file,
    editing,
    engine_at,
    ingest_pending,
    land,
    tables,
)
from testing.expected_tables import File, expected_products
from testing.raw_marks import is_reverted, read_status

A = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2, (("s2", "Eva", "z"), ("s3", "Cid", "")))

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = engine_at(tmp_path)
    for file in (A, B):
        engine.ingest(land(engine, file), LOG)
    return engine


def files_of(delivery: Delivery) -> list[Path]:
    return list(delivery.path.parent.glob(f"{delivery.path.stem}.*"))


def test_a_rebuild_without_the_files_of_a_purge_is_refused(engine: Engine) -> None:
    report = purge_products(engine, Selection(skus=["s1"]), LOG)
    before = tables(engine)
    purge = engine.raw_zone.find(str(report.figures["delivery_id"]))
    for path in files_of(purge):
        path.unlink()
    with pytest.raises(OperationRefusedError, match=f"{purge.label}: it is pruned, or its"):
        rebuild_products(engine, LOG)
    assert tables(engine) == before


def test_deliveries_lost_in_a_rebuild_are_merged_once_readable_again(engine: Engine) -> None:
    raw = engine.raw_zone.find(A.delivery_id).path
    kept = raw.read_bytes()
    raw.unlink()
    with pytest.raises(OperationRefusedError, match=r"a\.csv.* is gone"):
        rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [A, B])
    rebuild_products(engine, LOG, allow_data_loss=True)
    assert tables(engine)["products"] == expected_products([B])

    raw.write_bytes(kept)
    prune_raw(engine, 0, LOG)
    assert raw.exists()
    ingest_pending(engine)
    assert_invariants_hold(engine, [A, B])


def test_a_rebuild_of_a_damaged_database_reports_needed_and_pruned_deliveries(
    engine: Engine,
) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    database_file(engine).write_bytes(b"no database")
    problems = rebuild_products(engine, LOG, dry_run=True).problems
    assert [problem.partition(": ")[0] for problem in problems] == [A.label, B.label]
    with pytest.raises(OperationRefusedError, match="the tables needed it"):
        rebuild_products(engine, LOG)
    assert database_file(engine).read_bytes() == b"no database"


@pytest.mark.parametrize("back", first_fast([False, True]))
def test_a_reversal_lost_with_an_older_database_is_repeated(
    engine: Engine, tmp_path: Path, *, back: bool
) -> None:
    if back:
        revert_delivery(engine, B.delivery_id, LOG)
    older = tmp_path / "older"
    older.mkdir()
    for path in database_file(engine).parent.glob("products.duckdb*"):
        if path.suffix in {".duckdb", ".wal"}:
            shutil.copy(path, older)
    (reinstate_delivery if back else revert_delivery)(engine, B.delivery_id, LOG)
    for name in ("products.duckdb", "products.duckdb.wal"):
        database_file(engine).with_name(name).unlink(missing_ok=True)
    for path in older.iterdir():
        shutil.copy(path, database_file(engine).parent)

    with engine.warehouse.session("testing", LOG):
        pass
    ingest_pending(engine)
    assert tables(engine)["products"] == expected_products([A, B] if back else [A])


def test_a_reversal_skips_a_delivery_whose_record_is_gone(engine: Engine) -> None:
    again = File("a.csv", 3, (*A.rows, *B.rows))
    engine.ingest(land(engine, again), LOG)
    for path in files_of(engine.raw_zone.find(A.delivery_id)):
        path.unlink()
    with pytest.raises(OperationRefusedError, match="older deliveries, which may have had them"):
        revert_delivery(engine, again.delivery_id, LOG)
    revert_delivery(engine, again.delivery_id, LOG, ignore_pruned_history=True)
    assert tables(engine)["products"] == expected_products([B])
    engine.ingest(land(engine, A), LOG)
    assert tables(engine)["products"] == expected_products([A, B])


def test_a_reversal_never_loses_rows_that_the_tables_need(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    before = tables(engine)
    for ignore_pruned_history in (False, True):
        with pytest.raises(
            OperationRefusedError, match=r"a\.csv.* are gone, and the tables need them"
        ):
            revert_delivery(engine, B.delivery_id, LOG, ignore_pruned_history=ignore_pruned_history)
    assert tables(engine) == before


def test_a_status_note_names_the_database_that_it_is_true_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile = ingest.reconcile_batch

    def reconcile_and_lose_the_database(*arguments: object) -> object:
        reconciled = reconcile(*arguments)  # type: ignore[arg-type]
        for path in database_file(engine).parent.glob("products.duckdb*"):
            if path.is_file():
                path.unlink()
        with engine.warehouse.session("testing", LOG):
            pass  # This makes another database.
        return reconciled

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "reconcile_batch", reconcile_and_lose_the_database)
        late = File("c.csv", 3, (("s4", "Dot", ""),))
        engine.ingest(land(engine, late), LOG)
    assert tables(engine)["products"] == []
    ingest_pending(engine)
    assert_invariants_hold(engine, [A, B, late])


def test_a_delivery_refused_in_a_rebuild_remains_in_the_ledger_with_its_reason(
    tmp_path: Path,
) -> None:
    file = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    engine, strict = engine_at(tmp_path), engine_at(tmp_path, max_reject_share=0.1)
    engine.ingest(land(engine, file), LOG)
    with pytest.raises(OperationRefusedError, match=r"a\.csv.*1 of 2 rows are rejected"):
        rebuild_products(strict, LOG, use_present_settings=True)
    assert_invariants_hold(engine, [file])
    rebuild_products(strict, LOG, use_present_settings=True, allow_data_loss=True)
    (row,) = tables(engine)["ledger"]
    assert row[5] == "refused"
    assert [number for _, number, _ in tables(engine)["rejected_rows"]] == [2]
    assert verify(strict, LOG).problems == ()
    engine.ingest(land(engine, file), LOG)
    assert_invariants_hold(engine, [file])


def test_a_refused_delivery_that_a_rebuild_accepts_is_noted_as_merged(tmp_path: Path) -> None:
    file = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    strict, engine = engine_at(tmp_path, max_reject_share=0.1), engine_at(tmp_path)
    (engine.settings.inbox_dir / file.key).write_bytes(file.content)
    files = strict.pending_inbox(LOG).ready
    list(strict.ingest_all(files, [], LOG))
    assert strict.backlog.last_statuses(files) == ["refused"]
    rebuild_products(engine, LOG)
    assert [row[5] for row in tables(engine)["ledger"]] == ["merged"]
    assert engine.backlog.last_statuses(files) == ["merged"]
    assert verify(engine, LOG, full=True).problems == ()


def test_rows_that_the_present_settings_reject_are_a_loss(tmp_path: Path) -> None:
    file = File("a.csv", 1, (("s1", "Ann", "x"), ("sku-that-is-long", "Bob", "y")))
    engine, strict = engine_at(tmp_path), engine_at(tmp_path, max_sku_length=5)
    engine.ingest(land(engine, file), LOG)
    with pytest.raises(OperationRefusedError, match="present settings, 1 more row would"):
        rebuild_products(strict, LOG, use_present_settings=True)
    assert_invariants_hold(engine, [file])
    rebuild_products(strict, LOG, use_present_settings=True, allow_data_loss=True)
    assert [sku for sku, *_ in tables(engine)["products"]] == ["s1"]
    assert verify(strict, LOG, full=True).problems == ()


@pytest.mark.parametrize(
    "table", first_fast(["deliveries", "product_rows", "database_identity", "name_counts"], 2)
)
def test_a_database_that_lacks_a_table_is_rebuilt(engine: Engine, table: str) -> None:
    with editing(engine) as connection:
        connection.execute(f"DROP TABLE {table}")
    rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [A, B])


def test_a_dry_run_of_a_rebuild_reports_losses(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    report = rebuild_products(engine, LOG, dry_run=True)
    assert report.problems == tuple(
        f"{file.label}: it is pruned, or its record is gone, and the tables need it."
        for file in (A, B)
    )
    assert report.summary.endswith("Needs --allow-data-loss.")


@pytest.mark.parametrize("name", ["raw/a.csv/*.outcome", "products.duckdb.id"])
@pytest.mark.parametrize(
    "damage", first_fast([lambda text: b"\xed" + text, lambda text: text[:3], bytes.upper])
)
def test_a_damaged_status_note_or_id_file_is_replaced(
    engine: Engine, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (note,) = engine.settings.data_dir.glob(name)
    note.write_bytes(damage(note.read_bytes()))
    (engine.settings.inbox_dir / A.key).write_bytes(A.content)
    os.utime(engine.settings.inbox_dir / A.key, ns=(A.microseconds * 1000,) * 2)
    (file,) = list_inbox(engine.settings.inbox_dir, stable_seconds=0).ready
    assert engine.backlog.last_statuses([file]) == [None]
    list(engine.ingest_all([file], engine.pending_deliveries(LOG, offered=[file]), LOG))
    assert engine.backlog.last_statuses([file]) == ["merged"]
    assert verify(engine, LOG).problems == ()
    rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [A, B])


def test_rows_lost_in_a_reversal_are_reported_and_restored_by_their_file(engine: Engine) -> None:
    over = File("c.csv", 3, (*A.rows, *B.rows))
    engine.ingest(land(engine, over), LOG)
    prune_raw(engine, 0, LOG)
    summary = revert_delivery(engine, over.delivery_id, LOG, ignore_pruned_history=True).summary
    assert f"Rows that {B.label}, {A.label} may have had of its skus are lost" in summary
    text = " ".join(render_status(collect_status(engine)).split())
    assert re.search(r"a\.csv#\S+ failed: Rows that it may have had", text)
    assert "lfp ingest` retries it" not in text  # The bytes are gone.
    for file in (A, B):
        (engine.settings.inbox_dir / file.key).write_bytes(file.content)
        os.utime(engine.settings.inbox_dir / file.key, ns=(file.microseconds * 1000,) * 2)
    offered = engine.pending_inbox(LOG).ready
    assert engine.backlog.last_statuses(offered) == [None, None]
    list(engine.ingest_all(offered, [], LOG))
    assert tables(engine)["products"] == expected_products([A, B])


def test_a_refused_delivery_remains_reverted_until_the_settings_accept_it(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, max_reject_share=0.1)
    bad = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    engine.ingest(land(engine, bad), LOG)
    revert_delivery(engine, bad.delivery_id, LOG)
    before = tables(engine)
    with pytest.raises(
        OperationRefusedError, match=r"(?s)would be refused.*1 of 2 rows.*remains\s+rever"
    ):
        reinstate_delivery(engine, bad.delivery_id, LOG)
    assert tables(engine) == before
    lax = engine_at(tmp_path, max_reject_share=0.5)
    assert "is merged again. Products: 1." in reinstate_delivery(lax, bad.delivery_id, LOG).summary


def test_an_unknown_partition_is_explained_by_its_file_name(engine: Engine) -> None:
    key = partition_key("locked/k.csv")
    message = f"A file of that name has the partition {re.escape(key)}."
    with pytest.raises(OperationRefusedError, match=message):
        purge_products(engine, Selection(partition="locked/k.csv"), LOG, dry_run=True)
    with pytest.raises(LfpError, match=message):
        revert_delivery(engine, "locked/k.csv#20261120T081952.123456Z#0123456789abcdef", LOG)
    with pytest.raises(LfpError) as unknown:
        revert_delivery(engine, "", LOG)
    assert "A file of that name" not in str(unknown.value)


def test_a_purge_of_products_dated_in_the_future_is_refused_with_others(engine: Engine) -> None:
    ahead = File("c.csv", 10**16, (("s9", "Zoe", ""),))  # The year 2286.
    engine.ingest(land(engine, ahead), LOG)
    before = tables(engine)
    for dry_run in (True, False):
        with pytest.raises(OperationRefusedError, match=r"1 came with dates in the future.*: s9\."):
            purge_products(engine, Selection(everything=True), LOG, dry_run=dry_run)
    assert tables(engine) == before

    summary = purge_products(engine, Selection(partition="c.csv"), LOG).summary
    assert "Its date is 2286-11-20 17:46:40.000001, after the products that it deletes" in summary
    summary = purge_products(engine, Selection(everything=True), LOG).summary
    assert "Its date is" not in summary
    assert tables(engine)["products"] == []
    now = (utc_now() - datetime(1970, 1, 1)) // MICROSECOND  # noqa: DTZ001
    newer = File("d.csv", now, A.rows)
    engine.ingest(land(engine, newer), LOG)
    assert tables(engine)["products"] == expected_products([newer])


@pytest.mark.parametrize(("hours", "is_refused"), [(23, True), (0.1, False)])
def test_a_purge_reports_its_date_if_that_is_in_the_future(
    engine: Engine, hours: float, is_refused: bool
) -> None:
    at = (utc_now() + timedelta(hours=hours) - datetime(1970, 1, 1)) // MICROSECOND  # noqa: DTZ001
    engine.ingest(land(engine, File("c.csv", at, (("s9", "Zoe", ""),))), LOG)
    if is_refused:
        with pytest.raises(OperationRefusedError, match="1 came with dates in the future"):
            purge_products(engine, Selection(everything=True), LOG)
        return
    for dry_run in (True, False):
        summary = purge_products(engine, Selection(everything=True), LOG, dry_run=dry_run).summary
        assert "that it deletes; until then, only its reversal restores these skus." in summary


def test_the_advice_for_a_lost_purge_works(engine: Engine) -> None:
    lost, kept = (
        str(purge_products(engine, Selection(skus=[sku]), LOG).figures["delivery_id"])
        for sku in ("s1", "s2")
    )
    raw = engine.raw_zone.find(lost)
    for path in files_of(raw):
        path.unlink()
    (problem,) = verify(engine, LOG).problems
    assert "run `lfp rebuild` with --allow-data-loss, and purge again." in problem
    with pytest.raises(OperationRefusedError, match="are gone, and the tables need them"):
        revert_delivery(engine, kept, LOG)
    summary = rebuild_products(engine, LOG, allow_data_loss=True).summary
    assert f"Purge again what was deleted by {label_of(lost)}." in summary
    purge_products(engine, Selection(skus=["s1"]), LOG)
    assert verify(engine, LOG).problems == ()
    assert [sku for sku, *_ in tables(engine)["products"]] == ["s3"]


def revert_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, include_needed: bool
) -> None:
    """Revert a delivery and prune the raw zone when a rebuild has read all deliveries."""

    def follow_and_revert(shadow: Engine, *arguments: object) -> None:
        follow(shadow, *arguments)  # type: ignore[arg-type]
        if not is_reverted(raw):
            revert_delivery(engine, B.delivery_id, LOG)
            prune_raw(engine, 0, LOG, include_needed=include_needed)
            assert not raw.exists()

    follow, raw = rebuild.catch_up, engine.raw_zone.find(B.delivery_id).path
    monkeypatch.setattr(rebuild, "catch_up", follow_and_revert)


def test_a_delivery_reverted_and_pruned_during_a_rebuild_remains_reverted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    revert_meanwhile(engine, monkeypatch, include_needed=False)
    rebuild_products(engine, LOG)
    assert tables(engine)["products"] == expected_products([A])
    assert verify(engine, LOG).problems == ()
    assert engine.pending_deliveries(LOG) == []


def test_a_shadow_database_deletes_no_status_notes_of_the_present_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    revert_meanwhile(engine, monkeypatch, include_needed=True)
    message = r"b\.csv.* was reverted meanwhile.* Run `lfp rebuild` again"
    with pytest.raises(LfpError, match=message):
        rebuild_products(engine, LOG)
    a = engine.raw_zone.find(A.delivery_id).path
    assert read_status(a, engine.warehouse.cached_id()) is not None
    assert tables(engine)["products"] == expected_products([A])


def test_the_status_note_of_a_lost_delivery_is_deleted_without_a_record(engine: Engine) -> None:
    over = File("c.csv", 3, A.rows)
    engine.ingest(land(engine, over), LOG)
    a = engine.raw_zone.find(A.delivery_id)
    a.path.unlink()
    a.path.with_suffix(".json").unlink()
    revert_delivery(engine, over.delivery_id, LOG, ignore_pruned_history=True)
    assert not a.path.with_suffix(".outcome").exists()
    engine.ingest(land(engine, A), LOG)
    assert tables(engine)["products"] == expected_products([A, B])


def test_a_delivery_that_holds_rows_stays_merged(engine: Engine) -> None:
    purge = str(purge_products(engine, Selection(skus=["s9"]), LOG).figures["delivery_id"])
    with engine.warehouse.session("testing", LOG) as connection:
        for delivery_id in (A.delivery_id, purge):
            mark_unmerged(connection, delivery_id, "no")
    assert {row[0]: row[5] for row in tables(engine)["ledger"]} == dict.fromkeys(
        (A.delivery_id, B.delivery_id, purge), "merged"
    )


def test_lost_deliveries_are_reported_and_stay_in_the_ledger_until_they_land(
    engine: Engine,
) -> None:
    prune_raw(engine, 0, LOG, include_needed=True)
    with pytest.raises(OperationRefusedError, match="would lack 2 deliveries"):
        rebuild_products(engine, LOG)
    assert_invariants_hold(engine, [A, B])
    summary = rebuild_products(engine, LOG, allow_data_loss=True).summary
    assert tables(engine)["products"] == []
    assert f"Lost, whole or in part: 2 deliveries: {A.label}, {B.label}." in summary
    assert verify(engine, LOG).problems == ()
    text = " ".join(render_status(collect_status(engine)).split())
    for file in (A, B):
        assert re.search(rf"{file.key}#\S+ failed: Lost in a rebuild: it is pruned", text)
        engine.ingest(land(engine, file), LOG)
    assert_invariants_hold(engine, [A, B])
    assert "Needs attention" not in render_status(collect_status(engine))


@pytest.mark.parametrize("damage", first_fast([Path.unlink, lambda raw: os.truncate(raw, 3)]))
def test_a_refused_delivery_that_is_damaged_can_be_pruned(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    engine = engine_at(tmp_path, max_reject_share=0.1)
    bad = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    for file in (bad, B):
        engine.ingest(land(engine, file), LOG)
    raw = engine.raw_zone.find(bad.delivery_id).path
    raw.chmod(0o644)
    damage(raw)
    rebuild_products(engine, LOG)
    assert {row[0]: row[5] for row in tables(engine)["ledger"]}[bad.delivery_id] == "refused"
    (problem,) = verify(engine, LOG).problems
    assert problem.endswith("Or run `lfp prune`: the tables do not need it.")
    prune_raw(engine, 0, LOG)
    assert verify(engine, LOG).problems == ()
    assert engine.pending_deliveries(LOG) == []


def test_a_damaged_purge_can_be_replaced_by_another(engine: Engine) -> None:
    purge = str(purge_products(engine, Selection(skus=["s1"]), LOG).figures["delivery_id"])
    raw = engine.raw_zone.find(purge).path
    raw.chmod(0o644)
    raw.write_bytes(b"?")
    (problem,) = verify(engine, LOG).problems
    assert problem.endswith(
        "Restore it from a copy, and run `lfp ingest`; or revert this purge, and purge again."
    )
    revert_delivery(engine, purge, LOG)
    assert tables(engine)["products"] == expected_products([A, B])
    purge_products(engine, Selection(skus=["s1"]), LOG)
    assert verify(engine, LOG, full=True).problems == ()
    rebuild_products(engine, LOG)
    assert [sku for sku, *_ in tables(engine)["products"]] == ["s2", "s3"]


def test_a_reversal_needs_no_refused_deliveries(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, max_reject_share=0.1)
    bad = File("b.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    for file in (bad, A, B):
        engine.ingest(land(engine, file), LOG)
    prune_raw(engine, 0, LOG)
    assert not engine.raw_zone.find(bad.delivery_id).path.exists()
    database_file(engine).unlink()
    for log in write_ahead_logs(database_file(engine)):
        log.unlink()
    ingest_pending(engine)
    revert_delivery(engine, B.delivery_id, LOG)
    assert tables(engine)["products"] == expected_products([A])
