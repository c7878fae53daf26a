"""The ledger counts the lines that a reading skipped, by kind, and keeps its notes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.reading.reader import Reading, SkippedLines
from lfp_pipeline.warehouse.ledger import entry_of, mark_unmerged
from testing.dagster_project import NO_SKU, drop, query
from testing.engine import LOG, assert_invariants_hold, engine_at, land, patch_reading
from testing.expected_tables import File

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s3", "Cid", ""), ("s4", "Dot", "")))
DIRTY = File("dirty.csv", 3_000_000, (("s5", "Eva", ""), ("", "no sku", ""), ("", "none", "")))

SKIPPED = SkippedLines(blank=150, repeated_headers=2, above_header=3)
NOTES = ("The header is in line 4.", "Two columns are called name; the first one counts.")

FOUND = (150, 2, 3, "\n".join(NOTES))
NOTHING = (0, 0, 0, None)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    patch_reading(monkeypatch, SKIPPED, *NOTES)
    return engine_at(tmp_path)


def ingest(engine: Engine, file: File) -> LedgerEntry:
    return engine.ingest(land(engine, file), LOG).account


def skipped(entry: LedgerEntry) -> tuple[Any, ...]:
    lines = entry.blank_lines, entry.repeated_headers, entry.lines_above_header
    return *lines, entry.notes


def in_ledger(engine: Engine) -> dict[str, tuple[Any, ...]]:
    """Return the skipped lines of each delivery in the ledger, by delivery id."""
    rows = query(
        engine.settings.data_dir,
        "SELECT delivery_id, blank_lines, repeated_headers, lines_above_header, notes "
        "FROM deliveries",
    )
    return {delivery_id: tuple(others) for delivery_id, *others in rows}


def test_a_merge_counts_skipped_lines_apart_from_rows(engine: Engine) -> None:
    entry = ingest(engine, A)
    assert skipped(entry) == FOUND
    assert entry.rows.read == entry.rows.accounted == len(A.rows)
    assert in_ledger(engine) == {A.delivery_id: FOUND}
    assert_invariants_hold(engine, [A])
    assert verify(engine, LOG, full=True).problems == ()


def test_a_file_without_skipped_lines_has_zeros_and_no_notes(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    assert skipped(ingest(engine, A)) == NOTHING
    assert in_ledger(engine) == {A.delivery_id: NOTHING}


def test_the_ledger_returns_the_entry_that_was_written(engine: Engine) -> None:
    entry = ingest(engine, A)
    with engine.warehouse.session("testing", LOG) as connection:
        assert entry_of(connection, land(engine, A)) == entry


def test_each_delivery_of_a_batch_has_counts_and_notes_of_its_own(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_delivery = batch_merge.read_delivery

    def read(delivery: Delivery, *others: Any) -> Reading:  # noqa: ANN401
        reading = read_delivery(delivery, *others)
        if delivery.partition_key == A.key:
            return reading
        return replace(reading, skipped=SkippedLines(blank=1), notes=())

    monkeypatch.setattr(batch_merge, "read_delivery", read)
    done = list(engine.ingest_all([], [land(engine, file) for file in (A, B)], LOG))
    assert [result.batch for result in done if isinstance(result, IngestResult)] == [2, 2]
    assert in_ledger(engine) == {A.delivery_id: FOUND, B.delivery_id: (1, 0, 0, None)}


def test_a_file_refused_for_its_rejects_keeps_its_notes_and_counts_nothing(engine: Engine) -> None:
    strict = engine_at(engine.settings.data_dir, max_reject_share=0.1)
    entry = ingest(strict, DIRTY)
    assert entry.status == "refused"
    assert in_ledger(engine) == {DIRTY.delivery_id: (0, 0, 0, FOUND[-1])}


def test_a_file_that_is_refused_before_reading_has_no_notes(engine: Engine) -> None:
    drop(engine.settings.inbox_dir, "bad.csv", NO_SKU)
    list(engine.ingest_all(engine.pending_inbox(LOG).ready, [], LOG))
    assert list(in_ledger(engine).values()) == [NOTHING]


def test_a_redelivery_has_the_counts_and_notes_of_its_duplicate(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(engine, A)
    again = replace(A, microseconds=A.microseconds + 1)
    with monkeypatch.context() as context:
        patch_reading(context, SkippedLines(blank=7), "It was read.")
        assert skipped(ingest(engine, again)) == FOUND
    assert in_ledger(engine) == {A.delivery_id: FOUND, again.delivery_id: FOUND}
    assert_invariants_hold(engine, [A, again])


def test_a_reverted_delivery_has_skipped_nothing_until_it_is_reinstated(engine: Engine) -> None:
    ingest(engine, A)
    revert_delivery(engine, A.delivery_id, LOG)
    assert in_ledger(engine) == {A.delivery_id: NOTHING}
    reinstate_delivery(engine, A.delivery_id, LOG)
    assert in_ledger(engine) == {A.delivery_id: FOUND}


def test_a_delivery_marked_as_unmerged_has_skipped_nothing(engine: Engine) -> None:
    ingest(engine, A)
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("DELETE FROM warehouse.product_rows")
        mark_unmerged(connection, A.delivery_id, "It is lost.")
    assert in_ledger(engine) == {A.delivery_id: NOTHING}


def test_a_rebuild_keeps_the_counts_and_notes_of_pruned_deliveries(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(engine, A)
    newer = File(A.key, A.microseconds + 1, (("s1", "Ann", "new"), ("s2", "Bob", "new")))
    ingest(engine, newer)
    prune_raw(engine, 0, LOG)
    patch_reading(monkeypatch, SkippedLines(blank=1), "It was read again.")
    rebuild_products(engine, LOG)
    assert in_ledger(engine) == {
        A.delivery_id: FOUND,
        newer.delivery_id: (1, 0, 0, "It was read again."),
    }


def test_a_note_is_one_printable_line_whatever_the_file_contains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_reading(
        monkeypatch, SkippedLines(), "A column is called 'a\nb\x1b[2J\x00\udce9ß'.", "Second."
    )
    engine = engine_at(tmp_path)
    entry = ingest(engine, A)
    assert entry.status == "merged"
    assert entry.notes == "A column is called 'a\\nb\\x1b[2J\\x00\\udce9ß'.\nSecond."


def test_a_failed_attempt_clears_the_notes_of_the_last_attempt(engine: Engine) -> None:
    strict = engine_at(engine.settings.data_dir, max_reject_share=0.1)
    ingest(strict, DIRTY)
    land(engine, DIRTY).path.write_bytes(b"damaged")
    (done,) = engine.ingest_all([], [engine.raw_zone.find(DIRTY.delivery_id)], LOG)
    assert isinstance(done, IngestResult)
    assert done.account.status == "failed"
    assert in_ledger(engine) == {DIRTY.delivery_id: NOTHING}
