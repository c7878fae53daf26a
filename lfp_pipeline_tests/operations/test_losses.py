"""What was in, or deleted, is not lost without a word, and what is lost can land again."""

import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline import ingestion
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.inbox import list_inbox
from lfp_pipeline.landing.sources import utc_now
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.state import state_of
from lfp_pipeline.status import as_text
from lfp_pipeline_tests.oracle import (
    LOG,
    File,
    assert_laws_hold,
    catch_up,
    engine_at,
    land,
    tables,
    true_products,
)

A = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2, (("s2", "Eva", "z"), ("s3", "Cid", "")))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = engine_at(tmp_path)
    for file in (A, B):
        engine.ingest(land(engine, file), LOG)
    return engine


def files_of(delivery: Delivery) -> list[Path]:
    return list(delivery.path.parent.glob(f"{delivery.path.stem}.*"))


def test_a_rebuild_without_the_files_of_a_purge_is_refused(engine: Engine) -> None:
    told = purge_products(engine, Selection(skus=["s1"]), LOG)
    before = tables(engine)
    purge = engine.raw_zone.find(str(told.figures["delivery_id"]))
    for path in files_of(purge):
        path.unlink()
    with pytest.raises(OperationRefusedError, match=f"{purge.delivery_id}: it is pruned, or its"):
        rebuild_products(engine, LOG)
    assert tables(engine) == before


def test_what_a_rebuild_has_lost_comes_in_once_it_can_be_read_again(engine: Engine) -> None:
    raw = engine.raw_zone.find(A.delivery_id).path
    kept = raw.read_bytes()
    raw.unlink()
    with pytest.raises(OperationRefusedError, match=r"a\.csv.* is gone"):
        rebuild_products(engine, LOG)
    assert_laws_hold(engine, [A, B])
    rebuild_products(engine, LOG, accept_losses=True)
    assert tables(engine)["products"] == true_products([B])

    raw.write_bytes(kept)
    prune_raw(engine, 0, LOG)
    assert raw.exists()
    catch_up(engine)
    assert_laws_hold(engine, [A, B])


def test_what_was_needed_and_pruned_comes_in_once_it_lands_again(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, even_if_needed=True)
    with pytest.raises(OperationRefusedError, match="would lack 2 deliveries"):
        rebuild_products(engine, LOG)
    assert_laws_hold(engine, [A, B])
    rebuild_products(engine, LOG, accept_losses=True)
    assert tables(engine)["products"] == []
    for file in (A, B):
        engine.ingest(land(engine, file), LOG)
    assert_laws_hold(engine, [A, B])


def test_with_a_damaged_database_what_was_needed_and_pruned_is_missed(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, even_if_needed=True)
    engine.warehouse.path.write_bytes(b"no database")
    with pytest.raises(OperationRefusedError, match="the tables needed it"):
        rebuild_products(engine, LOG)
    assert engine.warehouse.path.read_bytes() == b"no database"


@pytest.mark.parametrize("back", [False, True])
def test_a_reversal_that_a_database_has_lost_is_carried_out_again(
    engine: Engine, tmp_path: Path, *, back: bool
) -> None:
    if back:
        revert_delivery(engine, B.delivery_id, LOG)
    older = tmp_path / "older"
    older.mkdir()
    for path in engine.warehouse.path.parent.glob("products.duckdb*"):
        if path.suffix in {".duckdb", ".wal"}:
            shutil.copy(path, older)
    (reinstate_delivery if back else revert_delivery)(engine, B.delivery_id, LOG)
    for name in ("products.duckdb", "products.duckdb.wal"):
        engine.warehouse.path.with_name(name).unlink(missing_ok=True)
    for path in older.iterdir():
        shutil.copy(path, engine.warehouse.path.parent)

    with engine.warehouse.opened("testing", LOG):
        pass
    catch_up(engine)
    assert tables(engine)["products"] == true_products([A, B] if back else [A])


def test_a_reversal_looks_past_a_delivery_whose_record_is_gone(engine: Engine) -> None:
    again = File("a.csv", 3, (*A.rows, *B.rows))
    engine.ingest(land(engine, again), LOG)
    for path in files_of(engine.raw_zone.find(A.delivery_id)):
        path.unlink()
    with pytest.raises(OperationRefusedError, match="older deliveries, which may have had them"):
        revert_delivery(engine, again.delivery_id, LOG)
    revert_delivery(engine, again.delivery_id, LOG, despite_pruned=True)
    assert tables(engine)["products"] == true_products([B])
    engine.ingest(land(engine, A), LOG)
    assert tables(engine)["products"] == true_products([A, B])


def test_a_reversal_does_not_give_up_what_is_needed(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, even_if_needed=True)
    before = tables(engine)
    for despite_pruned in (False, True):
        with pytest.raises(OperationRefusedError, match=r"a\.csv.* are gone, of which there are"):
            revert_delivery(engine, B.delivery_id, LOG, despite_pruned=despite_pruned)
    assert tables(engine) == before


def test_an_outcome_is_that_of_the_database_in_which_it_is_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = ingestion.settle

    def settle_and_lose_the_database(*arguments: object) -> object:
        settled = settle(*arguments)  # type: ignore[arg-type]
        for path in engine.warehouse.path.parent.glob("products.duckdb*"):
            if path.is_file():
                path.unlink()
        with engine.warehouse.opened("testing", LOG):
            pass  # Another one.
        return settled

    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "settle", settle_and_lose_the_database)
        late = File("c.csv", 3, (("s4", "Dot", ""),))
        engine.ingest(land(engine, late), LOG)
    assert tables(engine)["products"] == []
    catch_up(engine)
    assert_laws_hold(engine, [A, B, late])


def test_what_the_settings_of_now_refuse_stays_in_the_ledger_with_its_reason(
    tmp_path: Path,
) -> None:
    file = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    engine, strict = engine_at(tmp_path), engine_at(tmp_path, max_reject_share=0.1)
    engine.ingest(land(engine, file), LOG)
    with pytest.raises(OperationRefusedError, match=r"a\.csv.*1 of 2 rows are rejected"):
        rebuild_products(strict, LOG)
    assert_laws_hold(engine, [file])
    rebuild_products(strict, LOG, accept_losses=True)
    (row,) = tables(engine)["ledger"]
    assert row[5] == "refused"
    assert [number for _, number, _ in tables(engine)["rejected_rows"]] == [2]
    assert verify(strict, LOG).problems == ()
    engine.ingest(land(engine, file), LOG)
    assert_laws_hold(engine, [file])


def test_rows_that_the_settings_of_now_reject_are_a_loss(tmp_path: Path) -> None:
    file = File("a.csv", 1, (("s1", "Ann", "x"), ("sku-that-is-long", "Bob", "y")))
    engine, strict = engine_at(tmp_path), engine_at(tmp_path, max_sku_length=5)
    engine.ingest(land(engine, file), LOG)
    with pytest.raises(OperationRefusedError, match="settings of now, 1 more row"):
        rebuild_products(strict, LOG)
    assert_laws_hold(engine, [file])
    rebuild_products(strict, LOG, accept_losses=True)
    assert [sku for sku, *_ in tables(engine)["products"]] == ["s1"]
    assert verify(strict, LOG, thorough=True).problems == ()


@pytest.mark.parametrize("table", ["deliveries", "database_identity", "products", "name_counts"])
def test_a_database_that_lacks_a_table_is_made_anew(engine: Engine, table: str) -> None:
    with duckdb.connect(engine.warehouse.path) as connection:
        connection.execute(f"DROP TABLE {table}")
    rebuild_products(engine, LOG)
    assert_laws_hold(engine, [A, B])


def test_a_dry_run_of_a_rebuild_tells_what_it_would_lose(engine: Engine) -> None:
    prune_raw(engine, 0, LOG, even_if_needed=True)
    told = rebuild_products(engine, LOG, dry_run=True)
    assert told.problems == tuple(
        f"{file.delivery_id}: it is pruned, or its record is gone, and the tables need it."
        for file in (A, B)
    )
    assert told.summary.endswith("Then it would take its place, if losses are accepted.")


@pytest.mark.parametrize("name", ["raw/a.csv/*.outcome", "products.duckdb.id"])
@pytest.mark.parametrize(
    "damage", [lambda text: b"\xed" + text, lambda text: text[:3], bytes.upper]
)
def test_a_damaged_note_stops_nobody(
    engine: Engine, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (note,) = engine.settings.data_dir.glob(name)
    note.write_bytes(damage(note.read_bytes()))
    (engine.settings.inbox_dir / A.key).write_bytes(A.content)
    os.utime(engine.settings.inbox_dir / A.key, ns=(A.microseconds * 1000,) * 2)
    (file,) = list_inbox(engine.settings.inbox_dir, quiet_seconds=0).ready
    assert engine.outcome(file) in {None, "merged"}
    catch_up(engine)
    assert engine.outcome(file) == "merged"
    assert verify(engine, LOG).problems == ()
    rebuild_products(engine, LOG)
    assert_laws_hold(engine, [A, B])


def test_what_a_reversal_gives_up_is_named_and_comes_back_with_its_file(engine: Engine) -> None:
    over = File("c.csv", 3, (*A.rows, *B.rows))
    engine.ingest(land(engine, over), LOG)
    prune_raw(engine, 0, LOG)
    told = revert_delivery(engine, over.delivery_id, LOG, despite_pruned=True).summary
    assert f"What {B.delivery_id}, {A.delivery_id} may have had of its skus is gone" in told
    text = as_text(state_of(engine))
    assert f"{A.delivery_id} failed: What it may have had" in text
    assert "ingest_inbox tries it again" not in text  # It cannot: the bytes are gone.
    for file in (A, B):
        (engine.settings.inbox_dir / file.key).write_bytes(file.content)
        os.utime(engine.settings.inbox_dir / file.key, ns=(file.microseconds * 1000,) * 2)
    offered = engine.pending_inbox_files(LOG)
    assert [engine.outcome(file) for file in offered] == [None, None]
    list(engine.ingest_all(offered, [], LOG))
    assert tables(engine)["products"] == true_products([A, B])


def test_a_refused_delivery_is_reverted_and_reinstated_as_what_it_was(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, max_reject_share=0.1)
    bad = File("a.csv", 1, (("s1", "Ann", "x"), ("", "Bob", "y")))
    engine.ingest(land(engine, bad), LOG)
    before = tables(engine)
    revert_delivery(engine, bad.delivery_id, LOG)
    told = reinstate_delivery(engine, bad.delivery_id, LOG).summary
    assert "is reverted no longer, but refused, as bad data: 1 of 2 rows" in told
    assert tables(engine) == before


def test_a_purge_does_not_take_others_into_the_future(engine: Engine) -> None:
    ahead = File("c.csv", 10**16, (("s9", "Zoe", ""),))  # The year 2286.
    engine.ingest(land(engine, ahead), LOG)
    before = tables(engine)
    for dry_run in (True, False):
        with pytest.raises(OperationRefusedError, match=r"1 came with dates in the future.*: s9\."):
            purge_products(engine, Selection(everything=True), LOG, dry_run=dry_run)
    assert tables(engine) == before

    told = purge_products(engine, Selection(partition="c.csv"), LOG).summary
    assert "It is dated 2286-11-20 17:46:40.000001, as what it deletes: until then" in told
    told = purge_products(engine, Selection(everything=True), LOG).summary
    assert "It is dated" not in told
    assert tables(engine)["products"] == []
    now = (utc_now() - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    newer = File("d.csv", now, A.rows)
    engine.ingest(land(engine, newer), LOG)
    assert tables(engine)["products"] == true_products([newer])
