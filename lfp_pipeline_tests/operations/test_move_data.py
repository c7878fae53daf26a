"""All data moves to another place with its history; the tables are the same, row for row."""

from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, RawFileError, WarehouseInconsistentError
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.operations.move_data import move_data
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.revert import revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.warehouse.choice import warehouse_in
from testing.engine import LOG, editing, engine_at, land, tables
from testing.expected_tables import File
from testing.lakes import new_lake
from testing.postgres import PostgresServer

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Ann", "")))
B = File("b.csv", 2_000_001, (("s1", "Ann", "z"), ("s4", "Cid", "w")))
REJECTS = File("rejects.csv", 3_000_002, (("s5", "", "no name"), ("s6", "Dan", "v")))
REFUSED = File("refused.csv", 3_500_002, (("s7", "", "no name"),))
WRONG = File("wrong.csv", 4_000_003, (("s2", "Eve", "wrong"),))
OLD = File("old.csv", 500_000, (("s1", "Al", "all of it is replaced"),))


def common(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Return all tables, without the ledger's counts, which depend on the order of the merges."""
    with engine.warehouse.session("a test", LOG) as connection:
        ledger = connection.execute(
            "SELECT delivery_id, status, rows_read, rows_rejected FROM warehouse.deliveries"
        ).fetchall()
    return tables(engine) | {"ledger": sorted(ledger)}


@pytest.fixture
def source(tmp_path: Path) -> Engine:
    """Return an engine with merged, refused, reverted, purged and pruned deliveries."""
    engine = engine_at(tmp_path / "source", max_reject_share=0.6)
    for file in (OLD, B, A, REJECTS, REFUSED, WRONG):  # Not in the order of their times.
        engine.ingest(land(engine, file), LOG)
    (wrong,) = engine.raw_zone.deliveries("wrong.csv")
    revert_delivery(engine, wrong.delivery_id, LOG)
    purge_products(engine, Selection(skus=["s3"]), LOG)
    prune_raw(engine, 0, LOG)
    assert not engine.raw_zone.keeps(engine.raw_zone.deliveries("old.csv")[0].delivery_id)
    return engine


@pytest.fixture
def target(tmp_path: Path) -> Engine:
    return engine_at(tmp_path / "target", max_reject_share=0.6)


def test_the_copy_has_the_same_tables_and_history_and_goes_on(source: Engine, target: Engine):
    report = move_data(source, target, LOG)
    assert report.figures == {"deliveries": 7, "products": 4}
    assert common(target) == common(source)
    assert not verify(target, LOG, full=True).problems
    with source.warehouse.session("a test", LOG) as connection:
        rows = connection.execute("FROM warehouse.operations ORDER BY ALL").fetchall()
    with target.warehouse.session("a test", LOG) as connection:
        copied = connection.execute("FROM warehouse.operations ORDER BY ALL").fetchall()
    ours = {"rebuild_products", "move_data", "verify"}
    assert [row for row in copied if row[0] not in ours] == rows
    assert target.pending_deliveries(LOG) == []
    (wrong,) = target.raw_zone.deliveries("wrong.csv")
    (original,) = source.raw_zone.deliveries("wrong.csv")
    reverted_at = target.raw_zone.desired.reverted_at(wrong.raw_name)
    assert reverted_at == source.raw_zone.desired.reverted_at(original.raw_name)


@pytest.mark.slow
def test_a_move_can_be_repeated_also_after_more_has_come(source: Engine, target: Engine):
    move_data(source, target, LOG)
    source.ingest(land(source, File("c.csv", 9_000_000, (("s8", "Flo", "new"),))), LOG)
    report = move_data(source, target, LOG)
    assert report.figures == {"deliveries": 8, "products": 5}
    assert common(target) == common(source)


def test_data_moves_on_and_back(source: Engine, target: Engine, tmp_path: Path):
    move_data(source, target, LOG)
    back = engine_at(tmp_path / "back", max_reject_share=0.6)
    move_data(target, back, LOG)
    assert common(back) == common(source)


def test_a_copy_of_the_database_stands_for_it(source: Engine, target: Engine):
    export_tables(source, LOG, formats=["duckdb"])
    copy = warehouse_in(source.settings.exports_dir / "products.duckdb", source.settings)
    move_data(source, target, LOG, database=copy)
    assert common(target) == common(source)


def test_other_deliveries_at_the_target_are_refused(source: Engine, target: Engine):
    target.ingest(land(target, File("other.csv", 1, (("s9", "Gus", "only here"),))), LOG)
    before = tables(target)
    with pytest.raises(OperationRefusedError, match=r"1 delivery .* lacks: other\.csv"):
        move_data(source, target, LOG)
    assert tables(target) == before


def test_without_a_database_nothing_moves(tmp_path: Path, target: Engine):
    empty = engine_at(tmp_path / "empty")
    if empty.warehouse.exists:
        pytest.skip("a lake exists from its creation on")
    with pytest.raises(OperationRefusedError, match="There is no database"):
        move_data(empty, target, LOG)


def test_edited_tables_are_reported(source: Engine, target: Engine):
    with editing(source) as connection:
        connection.execute(
            "UPDATE warehouse.product_rows SET description = 'edited' WHERE sku = 's4'"
        )
    with pytest.raises(WarehouseInconsistentError, match="products in 2 rows"):
        move_data(source, target, LOG)


def test_damaged_bytes_stop_the_move(source: Engine, target: Engine):
    (delivery,) = source.raw_zone.deliveries("b.csv")
    delivery.path.write_bytes(b"damaged")
    with pytest.raises(RawFileError, match=r"b\.csv"):
        move_data(source, target, LOG)
    assert not target.warehouse.exists or not tables(target)["products"]


def test_a_file_moves_to_a_lake_and_back(source: Engine, tmp_path: Path, postgres: PostgresServer):
    new_lake(tmp_path / "lake", postgres)
    lake = engine_at(tmp_path / "lake", max_reject_share=0.6)
    assert "the lake in" in move_data(source, lake, LOG).summary
    assert common(lake) == common(source)
    back = engine_at(tmp_path / "back", max_reject_share=0.6)
    move_data(lake, back, LOG)
    assert common(back) == common(source)
