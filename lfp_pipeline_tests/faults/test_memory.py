"""A memory limit that is too low for a file: the error names the setting, and raising it helps."""

from pathlib import Path

from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.revert import revert_delivery
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File, expected_products

FIRST = File("a.csv", 1, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
WIDE = File("wide.csv", 2, tuple((f"s{n}", "n", f"{n:05}" * 18_000) for n in range(1_000)))


def test_a_merge_that_does_not_fit_fails_and_succeeds_with_more_memory(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, memory_limit="64MB")
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    delivery = land(engine, WIDE)
    account = engine.ingest(delivery, LOG).account
    assert account.status == "failed"
    assert "Raise LFP_MEMORY_LIMIT" in str(account.error)
    assert "SET " not in str(account.error)  # Users cannot change DuckDB's own settings.
    after = tables(engine)
    assert after | {"ledger": None} == before | {"ledger": None}

    roomy = engine_at(tmp_path, memory_limit="1GB")
    assert roomy.pending_deliveries(LOG) == [delivery]
    list(roomy.ingest_all([], roomy.pending_deliveries(LOG), LOG))
    assert_invariants_hold(roomy, [FIRST, WIDE])


def test_a_purge_needs_little_memory_and_so_does_its_reversal(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, memory_limit="64MB")
    engine.ingest(land(engine, FIRST), LOG)
    report = purge_products(engine, Selection(skus=["s1"]), LOG)
    assert [sku for sku, *_ in tables(engine)["products"]] == ["s2"]
    revert_delivery(engine, str(report.figures["delivery_id"]), LOG)
    assert tables(engine)["products"] == expected_products([FIRST])
