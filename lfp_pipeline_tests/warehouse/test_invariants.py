"""The invariants of the warehouse on random histories, compared with plain dicts."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import RowCounts, Status
from lfp_pipeline.warehouse import direct_load, matching, name_counts
from lfp_pipeline.warehouse.invariants import repeated_skus, unaccounted_deliveries
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import (
    File,
    expected_name_counts,
    expected_products,
    expected_row_counts,
)
from testing.processes import finish, start
from testing.random_files import histories, random_files

BY_DIFFERENCE, BY_RECOUNT = 1e9, 0.0

property_test = hypothesis_settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(
    params=[BY_DIFFERENCE, pytest.param(BY_RECOUNT, marks=pytest.mark.slow)],
    ids=["by difference", "by recount"],
)
def recount_share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(name_counts, "RECOUNT_SHARE", request.param)
    return request.param


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.slow), False], ids=["loaded", "read"])
def _loads_directly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(direct_load, "LEAST_BYTES", 0)
        monkeypatch.setattr(direct_load, "should_load_directly", lambda *_: True)
        monkeypatch.setattr(batch_merge, "size_in_bytes", lambda _: 0)


def check_history(history: list[list[File]]) -> None:
    """Ingest batch by batch; each must give what its files give one by one, oldest first."""
    with TemporaryDirectory() as folder:
        engine = engine_at(Path(folder))
        merged: list[File] = []
        for batch in history:
            done = ingest_together(engine, [land(engine, file) for file in batch])
            entries = {result.delivery.delivery_id: result.account for result in done}
            for file in sorted(set(batch), key=lambda file: (file.delivered_at, file.delivery_id)):
                entry = entries[file.delivery_id]
                assert entry.status is Status.MERGED
                if file not in merged:
                    assert entry.rows == RowCounts(**expected_row_counts(file, merged))
                    merged.append(file)
        assert_invariants_hold(engine, merged)


def ingest_together(engine: Engine, deliveries: list[Delivery]) -> list[IngestResult]:
    return ingest(deliveries, engine.raw_zone, engine.settings, engine.warehouse, LOG)


@pytest.mark.usefixtures("recount_share", "_loads_directly")
@property_test
@given(histories)
def test_any_history_ends_in_the_winners_with_a_fate_for_every_row(history: list[File]) -> None:
    check_history([[file] for file in history])


@pytest.mark.usefixtures("recount_share")
@property_test
@given(histories, st.integers(1, 7))
def test_a_batch_gives_the_same_as_merging_its_files_alone(history: list[File], size: int) -> None:
    check_history([history[start : start + size] for start in range(0, len(history), size)])


@pytest.mark.usefixtures("_loads_directly")
def test_the_way_of_writing_does_not_change_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for stretch in (7, 1, 10**6):
        monkeypatch.setattr(matching, "STRETCH_ROWS", stretch)
        files = random_files(Random(stretch), number=7, rows=20)
        check_history([files[:1], files[1:4], files[4:5], files[5:6], files[6:]])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("recount_share")
@hypothesis_settings(property_test, max_examples=500)
@given(histories)
def test_any_of_many_more_histories_ends_in_the_winners(history: list[File]) -> None:
    check_history([[file] for file in history])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("recount_share")
@hypothesis_settings(property_test, max_examples=500)
@given(histories, st.integers(2, 7))
def test_any_of_many_more_batches_ends_in_the_winners(history: list[File], size: int) -> None:
    check_history([history[start : start + size] for start in range(0, len(history), size)])


def test_a_merged_delivery_changes_nothing_when_it_comes_again(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    files = random_files(Random(3), number=4, rows=20)
    entries = [engine.ingest(land(engine, file), LOG).account for file in files]
    before = tables(engine)
    assert [engine.ingest(land(engine, file), LOG).account for file in files] == entries
    assert tables(engine) == before


@property_test
@given(histories, st.randoms(use_true_random=False))
def test_the_database_is_a_function_of_the_raw_zone(history: list[File], random: Random) -> None:
    with TemporaryDirectory() as folder:
        engine = engine_at(Path(folder))
        for file in history:
            engine.ingest(land(engine, file), LOG)
        before = tables(engine)
        engine.settings.database_path.unlink()
        deliveries = engine.pending_deliveries(LOG)
        random.shuffle(deliveries)
        for delivery in deliveries:
            engine.ingest(delivery, LOG)
        after = tables(engine)
        assert [row[:7] for row in after.pop("ledger")] == [row[:7] for row in before.pop("ledger")]
        assert after == before
        assert_invariants_hold(engine, history)


@property_test
@given(histories, st.floats(0, 1))
def test_refused_deliveries_change_no_table_but_the_ledger(
    history: list[File], limit: float
) -> None:
    with TemporaryDirectory() as folder:
        engine = engine_at(Path(folder), max_reject_share=limit)
        for file in history:
            entry = engine.ingest(land(engine, file), LOG).account
            refused = file.reject_share > limit
            assert entry.status is (Status.REFUSED if refused else Status.MERGED)
        taken = [file for file in history if file.reject_share <= limit]
        found = tables(engine)
        assert found["products"] == expected_products(taken)
        assert found["name_counts"] == expected_name_counts(taken)
        statuses = {row[0]: row[5] for row in found["ledger"]}
        assert {id_ for id_, status in statuses.items() if status == "merged"} == {
            file.delivery_id for file in taken
        }
        assert len(statuses) == len(set(history))
        with engine.warehouse.session("testing", LOG) as connection:
            assert unaccounted_deliveries(connection) == []
            keys = [file.key for file in history]
            assert unaccounted_deliveries(connection, keys) == []
            assert repeated_skus(connection) == 0
            assert name_counts.count_mismatches(connection) == 0


@property_test
@given(histories)
def test_several_threads_give_the_same_tables(history: list[File]) -> None:
    with TemporaryDirectory() as folder:
        engine = engine_at(Path(folder), parallel_files=4, batch_files=2)
        deliveries = [land(engine, file) for file in history]
        done = list(engine.ingest_all([], deliveries, LOG))
        assert len(history) >= len(done) >= len(set(history))
        statuses = {isinstance(result, IngestResult) and result.account.status for result in done}
        assert statuses == {"merged"}
        assert_invariants_hold(engine, history)


INGEST_EVERYTHING = """
import logging, random, sys
from pathlib import Path
from testing.engine import engine_at
from lfp_pipeline.warehouse import direct_load
engine = engine_at(
    Path(sys.argv[1]), parallel_files=2, batch_files=int(sys.argv[3]), other_process_wait_seconds=60
)
if engine.settings.batch_files == 1:
    direct_load.LEAST_BYTES, direct_load.should_load_directly = 0, lambda *_: True
log = logging.getLogger()
deliveries = [
    delivery for key in ("a.csv", "b.csv", "c.csv") for delivery in engine.raw_zone.deliveries(key)
]
random.Random(int(sys.argv[2])).shuffle(deliveries)
print("ready", flush=True)
for ingested in engine.ingest_all([], deliveries, log):
    assert ingested.account.status == "merged", ingested.account
"""


@pytest.mark.slow
def test_several_processes_give_the_same_tables(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    files = random_files(Random(7), number=12, rows=400)
    for file in files:
        land(engine, file)
    finish([start(INGEST_EVERYTHING, tmp_path, seed, 2 - seed % 2) for seed in range(4)])
    assert_invariants_hold(engine, files)


@pytest.mark.parametrize(
    "edit", ["DELETE FROM rejected_rows", "UPDATE deliveries SET rows_read = 9"]
)
def test_the_accounts_of_some_partitions_are_those_of_the_whole_ledger(
    tmp_path: Path, edit: str
) -> None:
    engine = engine_at(tmp_path)
    rows = (("s1", "Ann", "x"), ("", "Bob", "y"))
    files = [File("a.csv", 1, rows), File("b.csv", 2, rows), File("a.csv", 3, rows)]
    for file in files:
        engine.ingest(land(engine, file), LOG)
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("USE warehouse")
        connection.execute(edit)
        expected = sorted(file.delivery_id for file in files)
        assert unaccounted_deliveries(connection) == expected
        assert unaccounted_deliveries(connection, ["b.csv"]) == [files[1].delivery_id]
        assert unaccounted_deliveries(connection, ["a.csv", "b.csv"]) == expected
        assert unaccounted_deliveries(connection, []) == []
        connection.execute("USE memory")
