"""I4: a merge is committed whole or not at all, whichever statement fails."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.options import Conditions, ReadOptions
from lfp_pipeline.reading.staging import stage_single
from lfp_pipeline.warehouse import name_counts
from lfp_pipeline.warehouse.merge import StagedDelivery, merge
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File
from testing.reader import reading

FIRST = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", ""), ("s3", "Cid", ""), ("", "", "x")))
SECOND = File(
    "b.csv",
    2,
    (("s1", "Ann", ""), ("s2", "Ann", "x"), ("s4", "Dot", ""), ("s4", "Eva", ""), ("s9",)),
)

BY_DIFFERENCE, BY_RECOUNT = 1e9, 0.0
MOST_STATEMENTS = 40


class Fault(BaseException):
    """A fault that no handler of `Exception` catches."""


@dataclass
class Breaking:
    """A connection whose n-th call fails, before or after it has taken effect."""

    connection: duckdb.DuckDBPyConnection
    calls_left: int
    after: bool

    def execute(self, *arguments: object) -> duckdb.DuckDBPyConnection:
        return self._call(self.connection.execute, *arguments)

    def begin(self) -> duckdb.DuckDBPyConnection:
        return self._call(self.connection.begin)

    def commit(self) -> duckdb.DuckDBPyConnection:
        return self._call(self.connection.commit)

    def rollback(self) -> duckdb.DuckDBPyConnection:
        return self.connection.rollback()

    def _call(
        self, method: Callable[..., duckdb.DuckDBPyConnection], *arguments: object
    ) -> duckdb.DuckDBPyConnection:
        self.calls_left -= 1
        if self.calls_left == 0 and not self.after:
            raise Fault
        result = method(*arguments)
        if self.calls_left == 0:
            raise Fault
        return result


@contextmanager
def attached(
    engine: Engine, delivery: Delivery
) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[StagedDelivery]]]:
    with reading(delivery, engine.settings, engine.warehouse, threads=1) as (read, connection):
        stage_single(connection, taken=True)
        with engine.warehouse.attached(connection, "testing", LOG):
            read_with = Conditions.of(ReadOptions.of(engine.settings), delivery.text_format)
            yield connection, [StagedDelivery(delivery, read, read_with)]


def outcomes_of_breaking(engine: Engine, delivery: Delivery, *, after: bool) -> Iterator[Any]:
    """Yield the tables after a fault in each call of a merge, until a merge has no fault."""
    for number in range(1, MOST_STATEMENTS):
        try:
            with attached(engine, delivery) as (connection, batch):
                breaking: Any = Breaking(connection, number, after=after)
                merge(breaking, batch, time.perf_counter())
        except Fault:
            yield tables(engine)
        else:
            assert number > 10
            return
    pytest.fail("The merge has more statements than this test expects.")


in_both_ways_of_counting = pytest.mark.parametrize(
    "recount_share",
    [BY_DIFFERENCE, pytest.param(BY_RECOUNT, marks=pytest.mark.slow)],
    ids=["by difference", "by recount"],
)


@pytest.mark.slow
@in_both_ways_of_counting
def test_a_fault_before_any_statement_of_a_merge_changes_no_table(
    tmp_path: Path, recount_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_counts, "RECOUNT_SHARE", recount_share)
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    for after_fault in outcomes_of_breaking(engine, land(engine, SECOND), after=False):
        assert after_fault == before
    assert_invariants_hold(engine, [FIRST, SECOND])


@in_both_ways_of_counting
def test_a_fault_after_any_statement_of_a_merge_leaves_all_or_nothing_of_it(
    tmp_path: Path, recount_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_counts, "RECOUNT_SHARE", recount_share)
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    *earlier, last = outcomes_of_breaking(engine, land(engine, SECOND), after=True)
    assert len(earlier) > 10
    assert last["ledger"] != before["ledger"]
    assert all(state in (before, last) for state in earlier)
    assert_invariants_hold(engine, [FIRST, SECOND])


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7])
def test_a_fault_while_recording_a_refusal_changes_no_table(tmp_path: Path, number: int) -> None:
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, FIRST), LOG)
    before = tables(engine)
    delivery = land(engine, SECOND)
    with attached(engine, delivery) as (connection, [arrived]):
        breaking: Any = Breaking(connection, number, after=False)
        with pytest.raises(Fault):
            merge(breaking, [replace(arrived, refusal="no")], time.perf_counter())
    assert tables(engine) == before
