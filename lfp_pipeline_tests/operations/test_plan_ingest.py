"""The plan of an ingest has the counts of the ingest that follows, and changes nothing."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, WarehouseBusyError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.ledger_entry import FATES, RowCounts, Status
from lfp_pipeline.operations.plan_ingest import SAMPLE_ROWS, FilePlan, plan_ingest
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.revert import revert_delivery
from lfp_pipeline.sources.local_file import LocalFile
from testing.dagster_project import drop
from testing.engine import LOG, engine_at, loading_directly
from testing.processes import HOLD_DATABASE, running

HEADER = "sku,name,description\n"

cells = st.sampled_from(["", "Ann", "Bob", 'a "quoted", value', "two\nlines"])
names = st.sampled_from(["Ann", "Bob", ""])
rows = st.tuples(st.sampled_from(["s1", "s1", "s2", "s2", "s3", ""]), names, cells)
files = st.tuples(
    st.sampled_from(["a.csv", "b.csv", "c.csv"]),
    st.lists(rows, min_size=2, max_size=6),
    st.integers(1_000_000, 1_000_006),
)


def write(engine: Engine, file: tuple[str, list[tuple[str, str, str]], int]) -> None:
    name, of_file, microseconds = file
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in of_file]
    drop(engine.settings.inbox_dir, name, HEADER + "\n".join(lines) + "\n", microseconds)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def planned(engine: Engine) -> list[FilePlan]:
    """Plan the ingest of all files of the inbox; nothing may change by that."""
    before = contents(engine.settings.data_dir)
    reader = Engine(engine.settings, read_only=True)
    sources = reader.catalog.list_inbox().ready
    plans = plan_ingest(
        reader, [(file.partition_key, reader.catalog.inbox_source(file)) for file in sources], LOG
    )
    assert contents(engine.settings.data_dir) == before
    return plans


def ingested(engine: Engine) -> dict[str, IngestResult]:
    found = engine.ingest_all(engine.catalog.list_inbox().ready, [], LOG)
    return {result.partition_key: result for result in found if isinstance(result, IngestResult)}


def assert_plan_is_kept(plans: Sequence[FilePlan], results: dict[str, IngestResult]) -> None:
    for plan in plans:
        assert plan.entry
        entry = results[plan.key].account
        assert (plan.entry.status, plan.entry.rows) == (entry.status, entry.rows)
        assert plan.delivery
        assert plan.delivery.delivery_id == entry.delivery_id
        assert plan.is_new == results[plan.key].merged_here or entry.status is Status.REFUSED
        if plan.is_new and entry.status is Status.MERGED:
            for fate, number in entry.rows.fates.items():
                assert len(plan.samples.get(fate, [])) == min(number, SAMPLE_ROWS), fate


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    earlier=st.lists(files, min_size=1, max_size=3),
    direct=st.booleans(),
    purged=st.lists(st.sampled_from(["s1", "s2", "s5"]), max_size=2),
    reverts=st.booleans(),
    published=st.booleans(),
    new=st.lists(files, min_size=2, max_size=3, unique_by=lambda file: file[0]),
    max_reject_share=st.sampled_from([0.3, 1.0]),
)
def test_the_counts_of_a_plan_are_those_of_the_ingest(
    tmp_path: Path,
    earlier: list[tuple[str, list[tuple[str, str, str]], int]],
    direct: bool,
    purged: list[str],
    reverts: bool,
    published: bool,
    new: list[tuple[str, list[tuple[str, str, str]], int]],
    max_reject_share: float,
) -> None:
    with TemporaryDirectory(dir=tmp_path) as folder:
        engine = engine_at(Path(folder), max_reject_share=max_reject_share)
        for file in earlier:
            write(engine, file)
            if direct:
                with loading_directly():
                    ingested(engine)
            else:
                ingested(engine)
        if engine.warehouse.exists and purged:
            purge_products(engine, Selection(skus=purged), LOG)
        if reverts and (of_a := engine.raw_zone.deliveries("a.csv")):
            with contextlib.suppress(OperationRefusedError):
                revert_delivery(engine, of_a[-1].delivery_id, LOG)
        if published and engine.warehouse.exists:
            engine.published.publish(LOG)
        for file in new:
            write(engine, file)
        assert_plan_is_kept(planned(engine), ingested(engine))


def test_the_samples_are_rows_of_their_fates(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    write(engine, ("a.csv", [("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Cid", "z")], 3))
    ingested(engine)
    new = [("s1", "Ann", "x"), ("s2", "Bob", "new"), ("s4", "Dan", ""), ("s4", "Eva", "")]
    write(engine, ("b.csv", [*new, ("", "Fay", "")], 4))
    write(engine, ("c.csv", [("s3", "Old", "")], 2))
    plans = {plan.key: plan for plan in planned(engine)}
    assert plans["b.csv"].entry
    assert plans["b.csv"].entry.rows == RowCounts(5, 1, 1, 1, 1, 0, 1)
    found = {
        fate: [row["row_number"] for row in rows] for fate, rows in plans["b.csv"].samples.items()
    }
    assert found == {
        "unchanged": [1],
        "updated": [2],
        "superseded": [3],
        "inserted": [4],
        "rejected": [5],
    }
    (updated,) = plans["b.csv"].samples["updated"]
    assert (updated["description"], updated["old_description"]) == ("new", "y")
    assert [row["sku"] for row in plans["c.csv"].samples["stale"]] == ["s3"]
    assert not set(FATES) & plans["a.csv"].samples.keys()


def test_what_cannot_be_read_has_its_reason(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    drop(engine.settings.inbox_dir, "bad.csv", "name\nAnn\n")
    drop(engine.settings.inbox_dir, "ok.csv", HEADER + "s1,Ann,\n")
    bad, ok = planned(engine)
    assert bad.entry
    assert ok.entry
    assert (bad.entry.status, ok.entry.status) == (Status.REFUSED, Status.MERGED)
    missing = plan_ingest(engine, [("x.csv", LocalFile(tmp_path / "x.csv"))], LOG)
    assert "x.csv" in (missing[0].error or "")
    purges = plan_ingest(engine, [("purges", LocalFile(tmp_path / "x.csv"))], LOG)
    assert "reserved" in (purges[0].error or "")


def test_the_published_copy_is_read_while_another_process_has_the_database(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, other_process_wait_seconds=0)
    write(engine, ("a.csv", [("s1", "Ann", "")], 1))
    ingested(engine)
    engine.published.publish(LOG)
    with running(HOLD_DATABASE, str(engine.settings.database_path)):
        (plan,) = planned(engine)
        assert not plan.is_new
        os.utime(engine.published.path.with_name("products.duckdb.json"))
        engine.published.path.unlink()
        with pytest.raises(WarehouseBusyError):
            planned(engine)
