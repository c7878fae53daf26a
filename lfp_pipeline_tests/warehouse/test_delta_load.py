"""The delta load: the same tables and the same account as by reading the file in full."""

import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import WarehouseInconsistentError
from lfp_pipeline.model.ledger_entry import LedgerEntry, RowCounts, Status
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.reading import record_index, record_matching
from lfp_pipeline.reading.comparison import IndexedText
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import delta_load, matching
from lfp_pipeline_tests.warehouse.test_invariants import check_history, property_test
from testing.cases import first_fast
from testing.engine import (
    LOG,
    assert_invariants_hold,
    editing,
    engine_at,
    land,
    loading_deltas,
    loading_directly,
    tables,
)
from testing.expected_tables import File, Row, expected_row_counts
from testing.random_files import histories, random_files

ROWS = tuple((f"s{n}", f"Name {n % 7}", f"description {n}, of some\nlines") for n in range(60))
BASE = File("a.csv", 1_000_000, ROWS)


def newer(rows: tuple[Row, ...], key: str = "a.csv", microseconds: int = 2_000_000) -> File:
    return File(key, microseconds, rows)


def changed(rows: tuple[Row, ...], *numbers: int) -> tuple[Row, ...]:
    """Change the name of some rows, and the description of every second of these."""
    return tuple(
        (sku, name + " II" * (n % 2), text + "!") if n in numbers else (sku, name, text)
        for n, (sku, name, text) in enumerate(rows)
    )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path)


@pytest.fixture
def deltas(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Load even small files as deltas; return the numbers of records that each had to read."""
    read: list[int] = []
    original = delta_load.read_records

    def counting(
        connection: duckdb.DuckDBPyConnection,
        text: IndexedText,
        records: np.ndarray,
        options: ReadOptions,
        folder: Path,
    ) -> bool:
        accepted = original(connection, text, records, options, folder)
        read.append(len(records) if accepted else -1)
        return accepted

    monkeypatch.setattr(delta_load, "read_records", counting)
    monkeypatch.setattr(delta_load, "LEAST_BYTES", 0)
    monkeypatch.setattr(delta_load, "LEAST_SHARE", 0.01)
    return read


def ingest(engine: Engine, *files: File) -> LedgerEntry:
    for file in files:
        entry = engine.ingest(land(engine, file), LOG).account
    return entry


CHANGES: dict[str, tuple[Callable[[tuple[Row, ...]], tuple[Row, ...]], int]] = {
    "one row more": (lambda rows: (*rows, ("new", "New", "")), 1),
    "one row more, first": (lambda rows: (("new", "New", ""), *rows), 1),
    "one row less": (lambda rows: rows[:20] + rows[21:], 0),
    "rows changed": (lambda rows: changed(rows, 3, 4, 40, 41), 4),
    "all of these": (lambda rows: (("new", "New", ""), *changed(rows[5:], 2, 3)), 3),
    "reversed": (lambda rows: rows[::-1], 0),
    "reversed and changed": (lambda rows: changed(rows, 7)[::-1], 1),
    "a row repeated": (lambda rows: (*rows, rows[3]), 1),
    "a row repeated before": (lambda rows: (rows[30], *rows), 1),
    "a row repeated with another text": (lambda rows: (*rows, ("s3", "Name 3", "other")), 1),
    "superseded by the old text": (lambda rows: (("s3", "Name 3", "other"), *rows), 1),
    "moved": (lambda rows: rows[40:] + rows[:40], 0),
    "to be trimmed": (lambda rows: (*rows, (" s99 ", "Name ", "")), 1),
}


@pytest.mark.parametrize(
    ("change", "read"),
    first_fast([pytest.param(*case, id=name) for name, case in CHANGES.items()], 9),
)
def test_only_changed_rows_are_read(
    engine: Engine, deltas: list[int], change: Callable[..., tuple[Row, ...]], read: int
) -> None:
    file = newer(change(ROWS))
    entry = ingest(engine, BASE, file)
    assert entry.rows == RowCounts(**expected_row_counts(file, [BASE]))
    assert deltas == [read]
    assert_invariants_hold(engine, [BASE, file])
    again = newer(changed(file.rows, 9, 10), microseconds=3_000_000)
    assert ingest(engine, again).rows == RowCounts(**expected_row_counts(again, [BASE, file]))
    assert_invariants_hold(engine, [BASE, file, again])


REFUSED = {
    "a row without a sku": (lambda rows: (*rows, ("", "New", ""))),
    "a blank row": (lambda rows: (*rows, ("", "", ""))),
    "a cell less": (lambda rows: (*rows, ("s99", "New"))),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_with_any_other_line_is_read_in_full(
    engine: Engine, deltas: list[int], change: Callable[..., tuple[Row, ...]]
) -> None:
    file = newer(change(ROWS))
    ingest(engine, BASE, file)
    assert deltas == [-1]
    assert_invariants_hold(engine, [BASE, file])


@pytest.mark.parametrize("line", [b"s7,Name 0,changed, of someX\n", b"s99,New,\n", b"s99,New,"])
def test_a_line_end_that_is_not_that_of_the_header_is_read_in_full(
    engine: Engine, deltas: list[int], line: bytes
) -> None:
    """A shorter line end must not hide the last byte of a record, nor a missing one a warning."""
    rows = tuple((f"s{n}", f"Name {n % 7}", f"text {n}") for n in range(60))
    ingest(engine, File("a.csv", 1_000_000, rows))
    path = engine.settings.data_dir / "new.csv"
    content = File("a.csv", 2_000_000, rows).content
    lines = content.replace(b"s7,Name 0,text 7\r\n", b"s7,Name 0,text 7X\n")
    path.write_bytes(lines + line)
    os.utime(path, (2, 2))
    entry = engine.ingest(engine.land(LocalFile(path), "a.csv", LOG), LOG).account
    assert entry.status is Status.MERGED
    assert deltas == []
    (row,) = [row for row in tables(engine)["products"] if row[0] == "s7"]
    assert row[2] == "text 7X"


def test_a_delta_that_gives_up_leaves_the_file_to_the_direct_load(
    engine: Engine, deltas: list[int]
) -> None:
    base = File("a.csv", 1_000_000, tuple((f"s{n}", "Name", "x") for n in range(60)))
    ingest(engine, base)
    path = engine.settings.data_dir / "new.csv"
    text = base.content.replace(b"s7,Name,x", b's7,Name,12" x 3"')
    path.write_bytes(text)
    os.utime(path, (2, 2))
    with loading_directly():
        entry = engine.ingest(engine.land(LocalFile(path), "a.csv", LOG), LOG).account
    assert (entry.status, entry.rows.updated) == (Status.MERGED, 1)
    assert deltas == [-1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_trouble_with_the_base_does_not_stop_the_new_file(
    engine: Engine, deltas: list[int], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ingest(engine, BASE)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("lfp_pipeline.ingest.batch_merge.compare", fail)
    file = newer(changed(ROWS, 25))
    assert ingest(engine, file).status is Status.MERGED
    assert deltas == []
    assert_invariants_hold(engine, [BASE, file])


def test_a_full_verification_reads_each_file_in_full(engine: Engine, deltas: list[int]) -> None:
    ingest(engine, BASE, newer(changed(ROWS, 25)))
    assert deltas == [1]
    assert verify(engine, LOG, full=True).problems == ()
    assert deltas == [1]


def test_a_product_without_a_ledger_entry_is_matched_all_the_same(
    engine: Engine, deltas: list[int]
) -> None:
    ingest(engine, BASE)
    with editing(engine) as connection:
        connection.execute("DELETE FROM deliveries")
    file = newer(changed(ROWS, 25))
    assert ingest(engine, file).rows.updated == 1
    assert len(tables(engine)["products"]) == len(ROWS)
    assert deltas == []


def test_the_comparison_copies_little_of_a_file_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yesterday's file and one row more are one stretch of equal records."""
    monkeypatch.setattr(record_matching, "_COMPARED_BYTES", 1 << 16)
    path = tmp_path / "large.csv"
    path.write_bytes(b"h\n" + b"".join(b"%d,some text\n" % n for n in range(400_000)))
    index = record_index.index_records(path, 2, b"\n")
    assert index is not None
    record_matching.match_records(index, index)
    tracemalloc.start()
    found = record_matching._different(index, index, np.arange(400_000, dtype=np.int32))  # noqa: SLF001
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.size
    assert peak < 40 * 400_000


def test_bare_quotes_are_not_mixed_with_quoted_values(engine: Engine, deltas: list[int]) -> None:
    def bare(text: bytes) -> bytes:
        return text.replace(b"inch", b'"')

    rows = tuple((f"s{n}", f"{n} inch pipe", "x") for n in range(20))
    base = File("a.csv", 1_000_000, rows, pack=bare)
    file = File("a.csv", 2_000_000, (*rows, ("s99", "a, b", "x")), pack=bare)
    by_delta = [ingest(engine, each).rows for each in (base, file)]
    assert deltas == []
    assert by_delta[0].read == len(rows)


@pytest.mark.parametrize(
    "others",
    [
        (newer(ROWS[:30], "b.csv", 1_500_000),),
        (newer(changed(ROWS, *range(20)), "b.csv", 1_500_000),),
        (newer(changed(ROWS, *range(20)), "b.csv", 9_000_000),),
        (newer(ROWS[10:20], "b.csv", 9_000_000), newer(ROWS[:9], "c.csv", 1_200_000)),
    ],
)
def test_products_of_other_deliveries_are_compared(
    engine: Engine, deltas: list[int], others: tuple[File, ...]
) -> None:
    file = newer(changed(ROWS, 25, 50))
    entry = ingest(engine, BASE, *others, file)
    assert entry.rows == RowCounts(**expected_row_counts(file, [BASE, *others]))
    assert len(deltas) >= 1
    assert_invariants_hold(engine, [BASE, *others, file])


def test_deletions_reversals_and_reinstatements_are_respected(
    engine: Engine, deltas: list[int]
) -> None:
    file = newer(changed(ROWS, 25))
    ingest(engine, BASE)
    purge_products(engine, Selection(skus=["s5", "s25"]), LOG)
    ingest(engine, newer(ROWS[:2], "b.csv"), file)
    before = tables(engine)
    assert deltas[-1] >= 1
    revert_delivery(engine, file.delivery_id, LOG)
    reinstate_delivery(engine, file.delivery_id, LOG)
    for table in ("products", "name_counts"):
        assert tables(engine)[table] == before[table]
    revert_delivery(engine, BASE.delivery_id, LOG)
    assert tables(engine)["products"] == before["products"]


def test_another_partition_may_repeat_the_rows(engine: Engine, deltas: list[int]) -> None:
    file = newer(changed(ROWS, 25), key="copy.csv")
    entry = ingest(engine, BASE, file)
    assert entry.rows == RowCounts(**expected_row_counts(file, [BASE]))
    assert deltas == [1]
    assert_invariants_hold(engine, [BASE, file])


def test_a_late_older_file_keeps_nothing(engine: Engine, deltas: list[int]) -> None:
    late = newer(changed(ROWS, 25), microseconds=500_000)
    ingest(engine, BASE, late)
    assert deltas == []
    assert_invariants_hold(engine, [BASE, late])


def test_a_base_that_was_read_with_other_settings_is_not_used(
    engine: Engine, deltas: list[int]
) -> None:
    ingest(engine, BASE)
    other = Engine(engine.settings.model_copy(update={"max_name_length": 99}))
    file = newer(changed(ROWS, 25))
    ingest(other, file)
    assert deltas == []
    assert_invariants_hold(engine, [BASE, file])


def test_a_damaged_base_file_stops_nothing(engine: Engine, deltas: list[int]) -> None:
    ingest(engine, BASE)
    base = engine.raw_zone.find(BASE.delivery_id)
    base.path.write_bytes(base.path.read_bytes().replace(b"some", b"SOME"))
    file = newer(changed(ROWS, 25))
    entry = ingest(engine, file)
    assert entry.status is Status.MERGED
    assert deltas == []
    assert_invariants_hold(engine, [BASE, file])


def test_a_fault_changes_no_table(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(engine, BASE)
    before = tables(engine)

    def fail(*_: object) -> None:
        raise WarehouseInconsistentError("x")

    monkeypatch.setattr(delta_load, "LEAST_BYTES", 0)
    monkeypatch.setattr("lfp_pipeline.warehouse.merge.require_winners", fail)
    assert ingest(engine, newer(changed(ROWS, 25))).status is Status.FAILED
    assert tables(engine)["products"] == before["products"]
    monkeypatch.undo()
    file = newer(changed(ROWS, 25))
    ingest(engine, file)
    assert_invariants_hold(engine, [BASE, file])


@property_test
@given(histories)
def test_any_history_with_deltas_ends_in_the_winners(history: list[File]) -> None:
    with loading_deltas():
        check_history([[file] for file in history])


def versions(random: Random, number: int) -> list[File]:
    """Return versions of two files, each with most rows of the one before."""
    (first,) = random_files(random, 1, rows=40)
    files, rows = [replace(first, key="a.csv", microseconds=0)], list(first.rows)
    rows = [row for row in rows if row[0]]
    for version in range(1, number):
        for _ in range(random.randrange(6)):
            place = random.randrange(len(rows))
            sku, name, text = rows[place]
            match random.randrange(5):
                case 0:
                    rows[place] = (sku, name + "!", text)
                case 1:
                    rows[place] = (sku, name, text + "!")
                case 2:
                    rows.insert(place, (f"new{version}-{place}", name, text))
                case 3:
                    rows.insert(random.randrange(len(rows)), rows[place])
                case _:
                    del rows[place]
        if random.random() < 0.2:
            random.shuffle(rows)
        files.append(File(random.choice(["a.csv", "a.csv", "b.csv"]), version * 1_000, tuple(rows)))
    return files


@pytest.mark.parametrize("seed", first_fast(range(40), 3))
def test_any_versions_of_files_in_any_order_are_exact(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(seed)
    files = versions(random, 8)
    if seed % 2:
        random.shuffle(files)
    monkeypatch.setattr(delta_load, "UPDATED_ROWS", random.choice([1, 7, 500_000]))
    monkeypatch.setattr(matching, "STRETCH_ROWS", random.choice([1, 7, 10**6]))
    with loading_deltas(sample_bits=random.choice([0, 8, 32])):
        check_history([[file] for file in files])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@hypothesis_settings(property_test, max_examples=300)
@given(histories)
def test_any_of_many_more_histories_with_deltas_ends_in_the_winners(history: list[File]) -> None:
    with loading_deltas():
        check_history([[file] for file in history])
