"""Faults that random histories have found."""

from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from testing.engine import LOG, engine_at, land, tables
from testing.expected_tables import File, expected_products
from testing.raw_marks import is_pruned, mark_reverted
from verification.histories.kill_points import KilledError, killed_after
from verification.histories.rules import Version

OLD = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", ""), ("", "", "x")))
NEW = File("b.csv", 2, (("s1", "Eva", ""), ("s2", "Eva", "")))
NEWEST = File("c.csv", 3, (("s1", "Fay", ""), ("s2", "Fay", "")))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path)


def deliver(engine: Engine, *files: File) -> None:
    for file in files:
        engine.ingest(land(engine, file), LOG)


def statuses(engine: Engine) -> dict[str, str]:
    return {row[0]: row[5] for row in tables(engine)["ledger"]}


def ingest_all_pending(engine: Engine) -> None:
    assert list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))
    assert not engine.pending_deliveries(LOG)


def test_a_pruned_file_that_lands_again_is_merged_though_its_rows_were_unavailable(engine: Engine):
    deliver(engine, OLD, NEW)
    prune_raw(engine, 0, LOG)
    revert_delivery(engine, NEW.delivery_id, LOG, ignore_pruned_history=True)
    assert tables(engine)["products"] == []
    assert tables(engine)["rejected_rows"] == []
    assert statuses(engine) == {OLD.delivery_id: "failed", NEW.delivery_id: "reverted"}
    assert not engine.pending_deliveries(LOG)

    land(engine, OLD)
    assert engine.backlog.has_pending(OLD.key)
    ingest_all_pending(engine)
    assert tables(engine)["products"] == expected_products([OLD])
    assert statuses(engine) == {OLD.delivery_id: "merged", NEW.delivery_id: "reverted"}
    assert "exactly as they were" in rebuild_products(engine, LOG).summary


def test_a_pruned_delivery_stays_merged_where_a_newer_one_has_the_rows(engine: Engine):
    deliver(engine, OLD, NEW)
    prune_raw(engine, 0, LOG)
    deliver(engine, NEWEST)
    revert_delivery(engine, NEWEST.delivery_id, LOG, ignore_pruned_history=True)
    assert tables(engine)["products"] == expected_products([NEW])
    assert statuses(engine)[OLD.delivery_id] == "merged"


def test_a_pruned_merged_file_changes_nothing_when_it_lands_again(engine: Engine):
    deliver(engine, OLD, NEW)
    before = tables(engine)
    prune_raw(engine, 0, LOG)
    assert is_pruned(land(engine, OLD).path) is False
    ingest_all_pending(engine)
    assert tables(engine) == before


def test_a_pruned_delivery_is_reverted_by_the_next_run_if_a_reversal_was_killed(engine: Engine):
    deliver(engine, OLD, NEW)
    prune_raw(engine, 0, LOG)
    mark_reverted(engine.raw_zone.find(OLD.delivery_id).path)  # The kill came after this step.
    assert engine.backlog.has_pending(OLD.key)
    ingest_all_pending(engine)
    assert statuses(engine) == {OLD.delivery_id: "reverted", NEW.delivery_id: "merged"}
    assert not engine.backlog.has_pending(OLD.key)
    engine.warehouse.path.unlink()
    ingest_all_pending(engine)
    assert statuses(engine) == {OLD.delivery_id: "reverted", NEW.delivery_id: "merged"}


def test_a_delivery_whose_pruning_was_killed_can_land_and_be_reinstated(engine: Engine):
    deliver(engine, OLD, NEW)
    old = engine.raw_zone.find(OLD.delivery_id)
    revert_delivery(engine, OLD.delivery_id, LOG)
    for steps in range(100):
        with pytest.raises(KilledError), killed_after(engine.settings.data_dir, steps):
            prune_raw(engine, 0, LOG)
        if is_pruned(old.path):
            break
    assert old.path.exists()
    land(engine, OLD)
    reinstate_delivery(engine, OLD.delivery_id, LOG)
    assert statuses(engine)[OLD.delivery_id] == "merged"


def test_a_purge_of_an_empty_sku_is_refused():
    with pytest.raises(OperationRefusedError, match="is empty"):
        Selection(skus=["s1", " "])


def test_a_product_of_the_future_can_be_purged_again_after_a_purge_was_reverted(engine: Engine):
    deliver(engine, File("a.csv", 7_258_118_400_000_000, (("s1", "Ann", "x"),)))
    purges = []
    for _ in range(2):
        done = purge_products(engine, Selection(everything=True), LOG)
        assert tables(engine)["products"] == []
        purges.append(str(done.figures["delivery_id"]))
        revert_delivery(engine, purges[-1], LOG)
        assert [row[0] for row in tables(engine)["products"]] == ["s1"]
    assert purges[0] < purges[1]


FIRST = File("a.csv", 1, (("s1", "Ann", "first"), ("s12", "Bob", "first")))
WHOLE = Version("a.csv", 3, (("s1", "Ann", "x"), ("s12", "Bob", "y")))
CUT = replace(WHOLE, microseconds=2, size=WHOLE.content.index(b"s12") + 6)
"""Its last record ends within the name."""


def test_a_batch_with_an_unfinished_upload_leaves_nothing_pending(engine: Engine):
    ingest(
        [land(engine, CUT), land(engine, WHOLE)],
        engine.raw_zone,
        engine.settings,
        engine.warehouse,
        LOG,
    )
    assert statuses(engine) == {CUT.delivery_id: "reverted", WHOLE.delivery_id: "merged"}
    assert not engine.pending_deliveries(LOG)


def test_an_unfinished_upload_is_reverted_after_a_rebuild_that_merged_the_whole(engine: Engine):
    deliver(engine, CUT)
    land(engine, WHOLE)
    rebuild_products(engine, LOG)
    assert statuses(engine) == {CUT.delivery_id: "reverted", WHOLE.delivery_id: "merged"}
    assert not engine.pending_deliveries(LOG)


def test_a_delivery_that_a_rebuild_accepts_gets_its_note_and_reverts_what_it_completes(
    tmp_path: Path,
):
    engine = engine_at(tmp_path, max_reject_share=0.5)
    whole = replace(WHOLE, rows=(*WHOLE.rows, *[("bad",)] * 3))
    deliver(engine, CUT, whole)
    assert statuses(engine) == {CUT.delivery_id: "merged", whole.delivery_id: "refused"}
    engine = Engine(engine.settings.model_copy(update={"max_reject_share": 1}))
    rebuild_products(engine, LOG)
    assert statuses(engine) == {CUT.delivery_id: "reverted", whole.delivery_id: "merged"}
    assert not verify(engine, LOG).problems


def test_an_unfinished_upload_that_was_refused_is_reverted_too(tmp_path: Path):
    engine = engine_at(tmp_path, max_reject_share=0)
    deliver(engine, CUT)
    assert statuses(engine) == {CUT.delivery_id: "refused"}
    deliver(engine, WHOLE)
    engine.warehouse.path.unlink()
    engine = Engine(engine.settings.model_copy(update={"max_reject_share": 1}))
    ingest_all_pending(engine)
    assert statuses(engine) == {CUT.delivery_id: "reverted", WHOLE.delivery_id: "merged"}


def test_a_reinstated_unfinished_upload_stays_merged_in_a_new_database(engine: Engine):
    deliver(engine, CUT, WHOLE)
    reinstate_delivery(engine, CUT.delivery_id, LOG)
    before = tables(engine)["products"]
    engine.warehouse.path.unlink()
    ingest_all_pending(engine)
    assert tables(engine)["products"] == before
    assert set(statuses(engine).values()) == {"merged"}


def test_an_unfinished_upload_stays_merged_where_its_reversal_would_lose_rows(
    engine: Engine, caplog: pytest.LogCaptureFixture
):
    """The cut record has the sku of another product, whose delivery is pruned."""
    half_a_sku = replace(WHOLE, microseconds=2, rows=(("s1", "Bob", "x"), ("s12", "Bob", "y")))
    cut = replace(half_a_sku, size=half_a_sku.content.index(b"y"))
    old = File("b.csv", 1, (("s12", "Bob", "old"),))
    deliver(engine, old, cut)
    prune_raw(engine, 0, LOG)
    assert is_pruned(engine.raw_zone.find(old.delivery_id).path)
    other = replace(half_a_sku, microseconds=1)
    deliver(engine, other)
    assert statuses(engine)[cut.delivery_id] == "merged"
    assert "is not reverted" in caplog.text
    assert "--ignore-pruned-history" in caplog.text
    assert [row[0] for row in tables(engine)["products"]] == ["s1", "s12"]
    revert_delivery(engine, cut.delivery_id, LOG, ignore_pruned_history=True)
    assert statuses(engine)[cut.delivery_id] == "reverted"
