"""Reversals, reinstatements and rebuilds after settings or programs have changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.ingest import revert
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.reading.options import Conditions, ReadOptions, Rereading
from lfp_pipeline.warehouse import reversal
from testing.cases import first_fast
from testing.dagster_project import query
from testing.engine import LOG, database_file, editing, engine_at, ingest_pending, land, tables
from testing.expected_tables import File
from testing.raw_marks import clear_reverted, is_reverted, mark_reverted

LONG = "N" * 150

OLD = File("a.csv", 1, (("s1", LONG, "old"), ("s2", "Bob", "old"), ("s2", "Bob", "older")))
NEW = File("b.csv", 2, (("s1", "Eva", "new"), ("s2", "Eva", "new")))


class TwoNames(File):
    """A file with two columns of names; an alias chooses one."""

    @property
    def content(self) -> bytes:  # type: ignore[override]
        lines = [b"sku,label,title,description", b"s1,Label,Title,x", b"s3,Label,Title,y"]
        return b"\n".join(lines) + b"\n"


class TwoSkus(File):
    """A file with two columns of skus; an alias chooses one."""

    @property
    def content(self) -> bytes:  # type: ignore[override]
        return b"code,ean,name,description\ns1,s4,Ann,\ns3,s5,Bob,\n"


TWO_SKUS = TwoSkus("c.csv", 1, ())
LEDGER_OF_TWO_SKUS = f"""
SELECT rows_read, rows_inserted, rows_updated, rows_unchanged, rows_stale FROM deliveries
WHERE delivery_id = '{TWO_SKUS.delivery_id}'
"""

LABELLED = TwoNames("c.csv", 1, ())
HIDING = File("d.csv", 2, (("s1", "Eva", ""), ("s3", "Eva", "")))

BY_LABEL, BY_TITLE = ({"column_aliases": {"name": [alias]}} for alias in ("label", "title"))


def deliver(engine: Engine, *files: File) -> None:
    for file in files:
        assert engine.ingest(land(engine, file), LOG).account.status == "merged"


def values(engine: Engine) -> list[tuple[str, str, str]]:
    return [row[:3] for row in tables(engine)["products"]]


def account_of(engine: Engine, file: File) -> tuple[object, ...]:
    (row,) = query(
        engine.settings.data_dir,
        "SELECT status, rows_read, rows_superseded, rows_rejected, read_with, read_conditions, "
        "rows_read - rows_inserted - rows_updated - rows_unchanged - rows_superseded - rows_stale "
        f"- rows_rejected FROM deliveries WHERE delivery_id = '{file.delivery_id}'",
    )
    return row


def forget_the_conditions(engine: Engine, sql: str = "read_conditions = NULL") -> None:
    """Make the ledger look as if another version of the program had written it."""
    with editing(engine) as connection:
        connection.execute(f"UPDATE deliveries SET read_with = 'another', {sql}")


def pretend_another_program(engine: Engine, **settings: object) -> None:
    """Make the ledger say that another version of the program read everything."""
    of_then = Conditions.of(
        ReadOptions.of(engine.settings.model_copy(update=settings)), TextFormat()
    )
    of_then = replace(of_then, programs={"duckdb": "1.0.0", "reader": "another"})
    with editing(engine) as connection:
        connection.execute(
            "UPDATE deliveries SET read_with = $1, read_conditions = $2",
            [of_then.digest, of_then.text],
        )


@pytest.fixture
def merged(tmp_path: Path) -> Engine:
    engine = engine_at(tmp_path)
    deliver(engine, OLD, NEW)
    return engine


def strict(engine: Engine) -> Engine:
    return engine_at(engine.settings.data_dir, max_name_length=100)


def test_a_replacement_is_read_with_the_settings_of_its_merge(merged: Engine) -> None:
    before = account_of(merged, OLD)
    revert_delivery(strict(merged), NEW.delivery_id, LOG)
    assert values(merged) == [("s1", LONG, "old"), ("s2", "Bob", "older")]
    assert account_of(merged, OLD) == before
    assert verify(strict(merged), LOG, full=True).problems == ()


def test_a_replacement_has_its_former_columns_though_aliases_changed(tmp_path: Path) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED, HIDING)
    now = engine_at(tmp_path, **BY_TITLE)
    revert_delivery(now, HIDING.delivery_id, LOG)
    assert values(now) == [("s1", "Label", "x"), ("s3", "Label", "y")]
    assert "exactly as they were" in rebuild_products(now, LOG).summary
    assert verify(now, LOG, full=True).problems == ()


def test_on_request_a_replacement_is_read_with_the_present_settings_and_its_entry_corrected(
    merged: Engine,
) -> None:
    summary = revert_delivery(
        strict(merged), NEW.delivery_id, LOG, use_present_settings=True
    ).summary
    assert f"Read again with the present settings, and corrected: {OLD.label}." in summary
    assert values(merged) == [("s2", "Bob", "older")]
    now = Conditions.of(ReadOptions.of(strict(merged).settings), TextFormat())
    assert account_of(merged, OLD) == ("merged", 3, 1, 1, now.digest, now.text, 0)
    assert [row[:2] for row in tables(merged)["rejected_rows"]] == [(OLD.delivery_id, 1)]
    assert verify(strict(merged), LOG, full=True).problems == ()
    assert "exactly as they were" in rebuild_products(merged, LOG).summary


def test_on_request_all_rows_of_the_older_delivery_are_corrected(tmp_path: Path) -> None:
    """Including rows that hold now, and rows gained from or lost to a still older delivery."""
    oldest = File("a.csv", 0, (("s3", "Old", "y"), ("s4", "Old", "z")))
    hiding = File("d.csv", 2, (("s1", "Eva", ""),))
    deliver(engine_at(tmp_path, column_aliases={"sku": ["code"]}), oldest, TWO_SKUS, hiding)
    now = engine_at(tmp_path, column_aliases={"sku": ["ean"]})
    assert values(now) == [("s1", "Eva", ""), ("s3", "Bob", ""), ("s4", "Old", "z")]
    report = revert_delivery(now, hiding.delivery_id, LOG, use_present_settings=True, dry_run=True)
    assert TWO_SKUS.label in report.summary
    revert_delivery(now, hiding.delivery_id, LOG, use_present_settings=True)
    assert values(now) == [("s3", "Old", "y"), ("s4", "Ann", ""), ("s5", "Bob", "")]
    assert query(tmp_path, LEDGER_OF_TWO_SKUS) == [(2, 1, 1, 0, 0)]
    assert verify(now, LOG, full=True).problems == ()


@pytest.mark.parametrize("dry_run", first_fast([False, True]))
def test_a_reversal_with_unknown_settings_is_refused_and_marks_nothing(
    tmp_path: Path, *, dry_run: bool
) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED, HIDING)
    now = engine_at(tmp_path, **BY_TITLE)
    forget_the_conditions(now)
    before = tables(now)
    with pytest.raises(OperationRefusedError, match=r"c\.csv#.* were not recorded.*--use-present"):
        revert_delivery(now, HIDING.delivery_id, LOG, dry_run=dry_run)
    assert tables(now) == before
    assert not is_reverted(now.raw_zone.find(HIDING.delivery_id).path)
    assert now.pending_deliveries(LOG) == []
    revert_delivery(now, HIDING.delivery_id, LOG, use_present_settings=True)
    assert values(now) == [("s1", "Title", "x"), ("s3", "Title", "y")]


def test_a_reversal_after_an_upgrade_is_refused_until_a_rebuild(merged: Engine) -> None:
    pretend_another_program(merged)
    with pytest.raises(
        OperationRefusedError, match=r"code that reads has changed.*Run `lfp rebuild`"
    ):
        revert_delivery(strict(merged), NEW.delivery_id, LOG)
    rebuild_products(strict(merged), LOG)
    revert_delivery(strict(merged), NEW.delivery_id, LOG)
    assert values(merged) == [("s1", LONG, "old"), ("s2", "Bob", "older")]


def test_a_refused_reversal_names_changed_settings_and_programs(merged: Engine) -> None:
    pretend_another_program(merged, max_name_length=100)
    before = tables(merged)
    with pytest.raises(OperationRefusedError) as refused:
        revert_delivery(merged, NEW.delivery_id, LOG)
    assert "LFP_MAX_NAME_LENGTH was 100, and is 1000 now" in str(refused.value)
    assert 'duckdb was "1.0.0"' in str(refused.value)
    assert "the code that reads has changed" in str(refused.value)
    assert tables(merged) == before


def test_a_replacement_that_the_present_settings_refuse_is_not_used(tmp_path: Path) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED, HIDING)
    now = engine_at(tmp_path)
    before = tables(now)
    with pytest.raises(OperationRefusedError, match="is refused with the present settings"):
        revert_delivery(now, HIDING.delivery_id, LOG, use_present_settings=True)
    assert tables(now) == before
    assert not is_reverted(now.raw_zone.find(HIDING.delivery_id).path)


def test_a_killed_reversal_continues_with_its_options(tmp_path: Path) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED, HIDING)
    now = engine_at(tmp_path, **BY_TITLE)
    mark_reverted(now.raw_zone.find(HIDING.delivery_id).path, use_present_settings=True)
    ingest_pending(now)
    assert values(now) == [("s1", "Title", "x"), ("s3", "Title", "y")]


def test_equal_bytes_that_were_read_with_other_settings_are_searched_too(tmp_path: Path) -> None:
    rows = (("s1", "Ann", ""), ("s2", LONG, ""))
    first, again = File("a.csv", 1, rows), File("b.csv", 2, rows)
    over = File("c.csv", 3, (("s1", "Eva", ""), ("s2", "Eva", "")))
    engine = engine_at(tmp_path)
    deliver(engine, first)
    deliver(strict(engine), again, over)
    revert_delivery(engine, over.delivery_id, LOG)
    winners = {row[0]: row[3] for row in tables(engine)["products"]}
    assert winners == {"s1": again.delivery_id, "s2": first.delivery_id}


def test_a_delivery_is_reinstated_with_the_settings_that_it_was_merged_with(merged: Engine) -> None:
    before = tables(merged), account_of(merged, OLD)
    revert_delivery(merged, OLD.delivery_id, LOG)
    reinstate_delivery(strict(merged), OLD.delivery_id, LOG)
    assert tables(merged)["products"] == before[0]["products"]
    assert account_of(merged, OLD) == before[1]


def test_a_killed_reinstatement_continues_with_the_settings_of_its_merge(merged: Engine) -> None:
    before = account_of(merged, OLD)
    revert_delivery(merged, OLD.delivery_id, LOG)
    rebuild_products(strict(merged), LOG)  # A rebuild keeps the entry.
    raw = merged.raw_zone.find(OLD.delivery_id).path
    raw.rename(raw.with_suffix(".away"))
    clear_reverted(raw)
    ingest_pending(strict(merged))
    assert account_of(merged, OLD)[0] == "failed"
    raw.with_suffix(".away").rename(raw)
    ingest_pending(strict(merged))
    assert account_of(merged, OLD) == before


def test_a_delivery_is_reinstated_with_the_present_settings_on_request(merged: Engine) -> None:
    revert_delivery(merged, OLD.delivery_id, LOG)
    reinstate_delivery(strict(merged), OLD.delivery_id, LOG, use_present_settings=True)
    assert account_of(merged, OLD)[:4] == ("merged", 3, 1, 1)
    assert verify(merged, LOG, full=True).problems == ()


@pytest.mark.parametrize("dry_run", first_fast([True, False]))
def test_a_delivery_that_the_present_settings_refuse_remains_reverted(
    merged: Engine, *, dry_run: bool
) -> None:
    revert_delivery(merged, OLD.delivery_id, LOG)
    before, account = tables(merged), account_of(merged, OLD)
    now = engine_at(merged.settings.data_dir, max_name_length=2, max_reject_share=0.1)
    with pytest.raises(OperationRefusedError, match=r"would be refused.*3 of 3 rows") as refused:
        reinstate_delivery(now, OLD.delivery_id, LOG, dry_run=dry_run, use_present_settings=True)
    assert "rejected_rows" not in str(refused.value)
    assert (tables(merged), account_of(merged, OLD)) == (before, account)
    assert now.pending_deliveries(LOG) == []
    reinstate_delivery(now, OLD.delivery_id, LOG)
    assert account_of(merged, OLD)[:4] == ("merged", 3, 1, 0)


def test_a_reversal_names_the_former_settings_that_it_reads_with(merged: Engine) -> None:
    kept = f"Read as when merged: {OLD.label} (LFP_MAX_NAME_LENGTH was 1000, and is 100 now)."
    now = strict(merged)
    summary = revert_delivery(now, NEW.delivery_id, LOG, dry_run=True).summary
    assert f"{kept} --use-present-settings reads" in summary
    report = revert_delivery(now, NEW.delivery_id, LOG, dry_run=True, use_present_settings=True)
    assert "Read as when" not in report.summary
    assert kept in revert_delivery(now, NEW.delivery_id, LOG).summary
    # If the delivery holds no rows, no older file is read.
    assert "Read as when" not in revert_delivery(now, OLD.delivery_id, LOG).summary


def test_a_reinstatement_names_the_former_settings_that_it_reads_with(merged: Engine) -> None:
    revert_delivery(merged, OLD.delivery_id, LOG)
    kept = f"Read as when merged: {OLD.label} (LFP_MAX_NAME_LENGTH was 1000, and is 100 now)."
    now = strict(merged)
    assert kept in reinstate_delivery(now, OLD.delivery_id, LOG, dry_run=True).summary
    summary = reinstate_delivery(
        now, OLD.delivery_id, LOG, dry_run=True, use_present_settings=True
    ).summary
    assert "Read as when" not in summary
    assert kept in reinstate_delivery(now, OLD.delivery_id, LOG).summary
    revert_delivery(merged, OLD.delivery_id, LOG)
    assert "Read as when" not in reinstate_delivery(merged, OLD.delivery_id, LOG).summary


def test_a_reinstatement_after_an_upgrade_is_refused_with_the_difference(merged: Engine) -> None:
    revert_delivery(merged, NEW.delivery_id, LOG)
    pretend_another_program(merged)
    before = tables(merged)
    with pytest.raises(OperationRefusedError, match="the code that reads has changed"):
        reinstate_delivery(merged, NEW.delivery_id, LOG)
    assert tables(merged) == before
    assert is_reverted(merged.raw_zone.find(NEW.delivery_id).path)
    reinstate_delivery(merged, NEW.delivery_id, LOG, use_present_settings=True)
    assert values(merged) == [row[:3] for row in NEW.rows]


def test_a_rebuild_reads_with_the_settings_of_the_merge(merged: Engine) -> None:
    late = File("c.csv", 3, (("s9", LONG, ""), ("s8", "Zoe", "")))
    deliver(strict(merged), late)
    assert "exactly as they were" in rebuild_products(strict(merged), LOG).summary
    assert [row[0] for row in tables(merged)["rejected_rows"]] == [late.delivery_id]
    assert verify(merged, LOG, full=True).problems == ()


def test_a_rebuild_reads_with_the_present_settings_on_request(tmp_path: Path) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED)
    now = engine_at(tmp_path, **BY_TITLE)
    rebuild_products(now, LOG)
    assert values(now) == [("s1", "Label", "x"), ("s3", "Label", "y")]
    rebuild_products(now, LOG, use_present_settings=True)
    assert values(now) == [("s1", "Title", "x"), ("s3", "Title", "y")]
    assert verify(now, LOG, full=True).problems == ()


def test_after_an_upgrade_a_rebuild_is_one_command(merged: Engine) -> None:
    forget_the_conditions(merged)
    before = tables(merged)
    assert "exactly as they were" in rebuild_products(merged, LOG).summary
    assert tables(merged)["products"] == before["products"]
    now = Conditions.of(ReadOptions.of(merged.settings), TextFormat())
    assert account_of(merged, OLD)[4:6] == (now.digest, now.text)


@pytest.mark.parametrize("recorded", first_fast([False, True]))
def test_a_rebuild_with_other_row_counts_is_refused_and_names_the_delivery(
    merged: Engine, *, recorded: bool
) -> None:
    deliver(strict(merged), late := File("c.csv", 3, (("s9", LONG, ""), ("s8", "Zoe", ""))))
    if recorded:
        pretend_another_program(merged)
    else:
        forget_the_conditions(merged)
    before = tables(merged)
    with pytest.raises(OperationRefusedError) as refused:
        rebuild_products(merged, LOG)
    assert f"{late.label}: " in str(refused.value)
    assert ("code that reads has changed" if recorded else "not recorded") in str(refused.value)
    assert "--use-present-settings" in str(refused.value)
    assert tables(merged) == before
    rebuild_products(merged, LOG, use_present_settings=True)
    assert account_of(merged, late)[:4] == ("merged", 2, 0, 0)


def test_a_rebuild_with_other_products_and_equal_counts_is_refused(tmp_path: Path) -> None:
    deliver(engine_at(tmp_path, **BY_LABEL), LABELLED)
    now = engine_at(tmp_path, **BY_TITLE)
    forget_the_conditions(now)
    with pytest.raises(OperationRefusedError, match=r"c\.csv#.*not recorded"):
        rebuild_products(now, LOG)
    assert values(now) == [("s1", "Label", "x"), ("s3", "Label", "y")]


def test_a_lost_database_is_rebuilt_with_the_present_settings(merged: Engine) -> None:
    database_file(merged).write_bytes(b"no database")
    database_file(merged).with_name("products.duckdb.wal").unlink(missing_ok=True)
    summary = rebuild_products(strict(merged), LOG).summary
    assert "all deliveries were read with the present settings" in summary
    assert account_of(merged, OLD)[:4] == ("merged", 3, 1, 1)


def test_verify_finds_a_replacement_that_was_read_otherwise(
    merged: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulates a reversal that silently used the present settings."""
    now = strict(merged)
    with monkeypatch.context() as patch:
        patch.setattr(revert, "reread", lambda *_: Rereading(now.settings))
        revert_delivery(now, NEW.delivery_id, LOG)
    assert values(merged) == [("s2", "Bob", "older")]
    (problem, *_) = verify(now, LOG, full=True).problems
    assert "that differ from a rebuild: 1 (s1)" in problem


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("rows_read = 9, rows_inserted = 8", "Deliveries whose ledger entry differs"),
        (
            "read_conditions = replace(read_conditions, '1000,', '9,')",
            "Deliveries whose ledger entry",
        ),
    ],
)
def test_verify_finds_an_edited_ledger(tmp_path: Path, edit: str, what: str) -> None:
    engine = engine_at(tmp_path)
    deliver(engine, NEW)
    with editing(engine) as connection:
        connection.execute(f"UPDATE deliveries SET {edit}")
    problems = verify(engine, LOG, full=True).problems
    found = [problem for problem in problems if problem.startswith(what)]
    assert len(found) == 1
    assert NEW.label in found[0]


def test_a_fault_in_a_correction_leaves_the_tables_as_they_were(
    merged: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(merged)

    def failing(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(reversal, "record", failing)
        with pytest.raises(Exception, match="is not yet"):
            revert_delivery(strict(merged), NEW.delivery_id, LOG, use_present_settings=True)
    assert tables(merged) == before
    ingest_pending(strict(merged))
    assert values(merged) == [("s2", "Bob", "older")]
