"""Pruned deliveries are not needed, unless an operator overrides the check."""

import shutil
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, WarehouseBusyError
from lfp_pipeline.model.delivery import RawName
from lfp_pipeline.operations import revert, shadow_build
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from testing.engine import (
    LOG,
    assert_invariants_hold,
    database_file,
    engine_at,
    ingest_pending,
    land,
    tables,
)
from testing.expected_tables import File, expected_products
from testing.raw_marks import mark_reverted, prune

HIDDEN = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
NEWER = File("b.csv", 2, (("s1", "Eva", "z"), ("s2", "Eva", "z"), ("s3", "Cid", "")))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = engine_at(tmp_path)
    for file in (HIDDEN, NEWER):
        engine.ingest(land(engine, file), LOG)
    return engine


def lose_database(engine: Engine) -> None:
    for path in database_file(engine).parent.glob("products.duckdb*"):
        if path.is_file():
            path.unlink()
    ingest_pending(engine)


@pytest.mark.parametrize("dry_run", [False, True])
def test_pruning_is_refused_while_a_reversal_is_pending(engine: Engine, dry_run: bool) -> None:
    mark_reverted(engine.raw_zone.find(NEWER.delivery_id).path)  # Then the process was killed.
    with pytest.raises(OperationRefusedError, match=r"reversal of b\.csv.* is pending"):
        prune_raw(engine, 0, LOG, dry_run=dry_run)
    ingest_pending(engine)
    assert tables(engine)["products"] == expected_products([HIDDEN])
    prune_raw(engine, 0, LOG)
    assert tables(engine)["products"] == expected_products([HIDDEN])


@pytest.mark.parametrize("name", ["mark_reverted", "clear_reverted"])
def test_the_desired_state_is_marked_under_the_writer_lock(
    engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = []

    def note(desired: DesiredStates, name_: RawName, **options: bool) -> None:
        with pytest.raises(WarehouseBusyError), at_once.session("testing", LOG):
            pass
        want(desired, name_, **options)
        noted.append(name)

    at_once, want = engine.warehouse.waiting(0), getattr(DesiredStates, name)
    monkeypatch.setattr(DesiredStates, name, note)
    revert_delivery(engine, NEWER.delivery_id, LOG)
    assert tables(engine)["products"] == expected_products([HIDDEN])
    reinstate_delivery(engine, NEWER.delivery_id, LOG)
    assert_invariants_hold(engine, [HIDDEN, NEWER])
    assert noted == [name]


def test_a_reversal_is_refused_for_deliveries_pruned_before_a_rebuild(engine: Engine) -> None:
    prune_raw(engine, 0, LOG)
    lose_database(engine)
    before = tables(engine)
    with pytest.raises(OperationRefusedError, match=r"may have had them, are pruned: a\.csv#"):
        revert_delivery(engine, NEWER.delivery_id, LOG)
    assert tables(engine) == before
    engine.ingest(land(engine, HIDDEN), LOG)
    revert_delivery(engine, NEWER.delivery_id, LOG)
    assert tables(engine)["products"] == expected_products([HIDDEN])


def test_rows_hidden_by_a_lost_delivery_count_again_once_they_land(engine: Engine) -> None:
    prune_raw(engine, 0, LOG)
    engine.raw_zone.find(NEWER.delivery_id).path.unlink()
    summary = rebuild_products(engine, LOG, allow_data_loss=True).summary
    assert f"rows of 1 pruned delivery; deliver these again, too: {HIDDEN.label}." in summary
    assert tables(engine)["products"] == []
    engine.ingest(land(engine, HIDDEN), LOG)
    assert tables(engine)["products"] == expected_products([HIDDEN])
    engine.ingest(land(engine, NEWER), LOG)
    assert_invariants_hold(engine, [HIDDEN, NEWER])


def test_a_rebuild_tolerates_pruning_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(engine)
    follow = shadow_build.Engine.ingest_all

    def prune_meanwhile(*arguments: object) -> object:
        prune(engine.raw_zone.find(HIDDEN.delivery_id).path, needed=False)
        return follow(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shadow_build.Engine, "ingest_all", prune_meanwhile)
    summary = rebuild_products(engine, LOG).summary
    assert "exactly as they were" in summary
    after = tables(engine)
    assert after["products"] == before["products"]
    assert [row[0] for row in after["ledger"]] == [row[0] for row in before["ledger"]]
    assert {row[5] for row in after["ledger"]} == {"merged"}


def test_a_rebuild_of_a_damaged_database_needs_no_unneeded_deliveries(engine: Engine) -> None:
    prune_raw(engine, 0, LOG)
    before = tables(engine)
    database_file(engine).write_bytes(b"no database")
    rebuild_products(engine, LOG)
    assert {name: rows for name, rows in tables(engine).items() if name != "ledger"} == {
        name: rows for name, rows in before.items() if name != "ledger"
    }


def test_an_older_copy_from_before_a_rebuild_is_noticed(engine: Engine, tmp_path: Path) -> None:
    for _ in range(2):
        revert_delivery(engine, NEWER.delivery_id, LOG)
        revert.reinstate_delivery(engine, NEWER.delivery_id, LOG)
    path = database_file(engine)
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("CHECKPOINT warehouse")
    shutil.copy(path, tmp_path / "older")
    rebuild_products(engine, LOG)
    newest = File("c.csv", 3, (("s9", "Zed", ""),))
    engine.ingest(land(engine, newest), LOG)
    for file in path.parent.glob("products.duckdb*"):
        if file.suffix in {".duckdb", ".wal"}:
            file.unlink()
    shutil.copy(tmp_path / "older", path)
    with engine.warehouse.session("testing", LOG):
        pass
    ingest_pending(engine)
    assert_invariants_hold(engine, [HIDDEN, NEWER, newest])
