"""What was in, or deleted, is not lost without a word, and what is lost can land again."""

import shutil
from pathlib import Path

import pytest

from lfp_pipeline import ingestion
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
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
