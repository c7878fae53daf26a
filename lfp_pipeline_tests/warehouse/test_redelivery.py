"""Redelivery: rows of the same bytes move unread, where reading would give the same."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Never

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts
from lfp_pipeline.warehouse import redelivery, schema
from testing.engine import LOG, assert_invariants_hold, editing, engine_at, land, tables
from testing.expected_tables import File, expected_row_counts
from testing.random_files import random_files

FILE = File("a.csv", 10, (("s1", "Ann", ""), ("s2", "Bob", "x"), ("s2", "Cid", ""), ("s3",)))
OTHER = File("b.csv", 15, (("s1", "Dot", ""), ("s9", "Eva", "")))
AGAIN, BEFORE = replace(FILE, microseconds=20), replace(FILE, microseconds=5)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path)


def ingest(engine: Engine, *files: File) -> LedgerEntry:
    for file in files:
        entry = engine.ingest(land(engine, file), LOG).account
    return entry


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> Never:
        raise AssertionError("It was read.")

    monkeypatch.setattr(batch_merge, "read_delivery", read)


def test_the_same_bytes_are_not_read_again(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    ingest(engine, FILE, replace(OTHER, rows=OTHER.rows[1:]))
    read_nothing(monkeypatch)
    entry = ingest(engine, AGAIN)
    assert entry.rows == RowCounts(**expected_row_counts(AGAIN, [FILE]))
    assert_invariants_hold(engine, [FILE, replace(OTHER, rows=OTHER.rows[1:]), AGAIN])


@pytest.mark.parametrize(
    "files",
    [
        (FILE, BEFORE),
        (FILE, OTHER, AGAIN),
        (OTHER, FILE, replace(FILE, key="c.csv")),
        (FILE, AGAIN, replace(FILE, microseconds=15)),
    ],
    ids=["older", "overtaken", "of another partition", "in between"],
)
def test_bytes_are_read_again_where_other_rows_would_win(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, files: tuple[File, ...]
):
    ingest(engine, *files[:-1])
    with monkeypatch.context() as context:
        read_nothing(context)
        assert ingest(engine, files[-1]).status == "failed"
    ingest(engine, files[-1])
    assert_invariants_hold(engine, files)


def test_bytes_are_read_again_with_other_settings(engine: Engine):
    ingest(engine, FILE)
    stricter = engine_at(engine.settings.data_dir, max_sku_length=1)
    assert ingest(stricter, AGAIN).rows.rejected == len(FILE.rows)


def test_bytes_are_read_again_where_the_ledger_has_no_fingerprint(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as context:
        context.setattr(schema, "VERSION", 1)
        with engine.warehouse.session("testing", LOG):
            pass
    ingest(engine, FILE)
    with editing(engine) as connection:
        connection.execute("UPDATE deliveries SET read_with = NULL")
    with monkeypatch.context() as context:
        read_nothing(context)
        assert ingest(engine, AGAIN).status == "failed"
    ingest(engine, AGAIN)
    assert_invariants_hold(engine, [FILE, AGAIN])


def test_the_invariants_hold_in_histories_with_many_repetitions(tmp_path: Path):
    for seed in range(2):
        random = Random(seed)
        contents = random_files(random, number=3, rows=12)
        files = [
            replace(random.choice(contents), microseconds=random.randrange(8)) for _ in range(14)
        ]
        engine = engine_at(tmp_path / str(seed))
        merged: list[File] = []
        for file in files:
            entry = ingest(engine, file)
            if file not in merged:
                assert entry.rows == RowCounts(**expected_row_counts(file, merged))
                merged.append(file)
        assert_invariants_hold(engine, files)


def test_a_fault_changes_no_table(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    ingest(engine, FILE)
    before = tables(engine)["products"]

    def failing(*_: object) -> Never:
        raise MemoryError

    with monkeypatch.context() as context:
        context.setattr(redelivery, "record", failing)
        assert ingest(engine, AGAIN).status == "failed"
    assert tables(engine)["products"] == before
    ingest(engine, AGAIN)
    assert_invariants_hold(engine, [FILE, AGAIN])
