"""The events of all jobs on a real instance: partitions, row counts and checks as in the UI."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from lfp_pipeline.dagster_support import events
from lfp_pipeline.dagster_support.checks import CHECKS
from lfp_pipeline.dagster_support.partitions import product_files
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.errors import LandingError
from testing.cases import first_fast
from testing.dagster_project import (
    HEADER,
    NO_SKU,
    Project,
    drop,
    project_in,
    project_of,
    query,
)
from testing.expected_tables import File
from testing.processes import HOLD_DATABASE, running
from testing.raw_marks import mark_reverted

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Cid", "")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s4", "Eva", "")))
GOOD = [f"sku{number},Ann,x\n" for number in range(60)]
FEW_REJECTS = HEADER + "".join(GOOD) + "bad\n"
MANY_REJECTS = HEADER + "".join(GOOD) + "bad\n" * 40

Partitions = dict[str, str]


def partitions(project: Project, asset: str = "products") -> Partitions:
    """Return the state of each partition, as the UI shows it: failed hides materialized."""
    status = get_and_update_asset_status_cache_value(
        project.instance, dg.AssetKey(asset), product_files
    )
    if status is None:
        return {}
    states: Partitions = {}
    for state, subset in (
        ("materialized", status.deserialize_materialized_partition_subsets(product_files)),
        ("running", status.deserialize_in_progress_partition_subsets(product_files)),
        ("failed", status.deserialize_failed_partition_subsets(product_files)),
    ):
        states |= dict.fromkeys(subset.get_partition_keys(), state)
    return states


def evaluations(project: Project) -> dict[str, bool | None]:
    """Return the result of each check, as the UI shows it; None: not evaluated."""

    async def shown(spec: dg.AssetCheckSpec) -> bool | None:
        storage: Any = project.instance.event_log_storage
        (record,) = storage.get_asset_check_execution_history(spec.key, limit=1)
        context = LoadingContextForTest(project.instance)
        if not await record.targets_latest_materialization(context):
            return None
        return bool(record.evaluation.passed)

    return {spec.name: asyncio.run(shown(spec)) for spec in CHECKS}


def evaluation(project: Project, name: str) -> dict[str, Any]:
    """Return the metadata of the latest result of a check."""
    (spec,) = [spec for spec in CHECKS if spec.name == name]
    storage: Any = project.instance.event_log_storage
    (record,) = storage.get_asset_check_execution_history(spec.key, limit=1)
    return {key: value.value for key, value in record.evaluation.metadata.items()}


def shown_delivery(project: Project, key: str) -> str:
    """Return the delivery that a page shows; empty: no file of the partition has landed."""
    return str(project.metadata("products", key).get("delivery_id", ""))


def newest_delivery(project: Project, key: str) -> str:
    """Return the newest delivery of a partition, if possible one that is not reverted."""
    found = query(project.data, "SELECT status <> 'reverted', delivery_id FROM deliveries")
    of_partition = [entry for entry in found if entry[1].startswith(f"{key}#")]
    return str(max(of_partition, default=(False, ""))[1])


def operate(project: Project, job: str, **config: object) -> dg.ExecuteInProcessResult:
    op = job.partition("_")[0]
    return project.run(job, config={"ops": {op: {"config": config}}})


def assert_counts_are_right(project: Project) -> None:
    """Compare the row counts of the latest materializations with the tables."""
    for table in ("products", "name_counts"):
        ((rows,),) = query(project.data, f"SELECT count(*) FROM {table}")
        assert project.metadata(table)["dagster/row_count"] == rows, table
    assert evaluations(project) == dict.fromkeys((spec.name for spec in CHECKS), True)


def test_a_refused_file_of_a_shared_run_is_a_failed_partition_with_the_reason(
    tmp_path: Path, home: Path
) -> None:
    with project_in(tmp_path, home) as project:
        project.drop(A)
        drop(project.inbox, "it's bad.csv", MANY_REJECTS)
        run = project.run("ingest_inbox")
        assert not run.success
        (key,) = set(project.registered) - {A.key}
        assert partitions(project) == {A.key: "materialized", key: "failed"}
        assert partitions(project, "raw_products") == dict.fromkeys((A.key, key), "materialized")
        shown = project.metadata("products", key)
        assert (shown["status"], shown["file"]) == ("refused", "it's bad.csv")
        assert "40 of 100" in shown["why"]
        assert "lfp dismiss 'it'\"'\"'s bad.csv'" in shown["what_to_do"]
        assert shown["sample_of_rejects"].records[0].data == {
            "row_number": 61,
            "reason": "missing columns, 1 columns instead of 3",
            "raw": "bad",
        }
        assert_counts_are_right(project)


def test_proposed_commands_take_no_file_for_an_option(project: Project) -> None:
    drop(project.inbox, "-rf.csv", NO_SKU)
    drop(project.inbox, "-few.csv", FEW_REJECTS)
    project.run("ingest_inbox")
    few, refused = sorted(project.registered)
    shown = project.metadata("products", refused)
    assert shown["what_to_do"].endswith("lfp dismiss -- -rf.csv")
    assert project.metadata("products", few)["fix_rejects"] == "lfp rejects -- -few.csv"


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_a_refused_file_shows_the_same_by_both_jobs_until_a_good_version(
    project: Project, job: str
) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    run = project.ingest("bad.csv") if job == "ingest_products" else project.run(job)
    assert not run.success
    assert partitions(project) == {"bad.csv": "failed"}
    shown = project.metadata("products", "bad.csv")
    assert shown["status"] == "refused"
    assert shown["why"].startswith("The header has no column sku")
    assert project.metadata("raw_products", "bad.csv")["file"] == "bad.csv"
    assert_counts_are_right(project)

    drop(project.inbox, "bad.csv", B.content, 3_000_000)
    run = project.ingest("bad.csv") if job == "ingest_products" else project.run(job)
    assert run.success
    assert partitions(project) == {"bad.csv": "materialized"}
    assert project.metadata("products", "bad.csv")["status"] == "merged"
    assert_counts_are_right(project)


def test_a_merged_file_whose_new_version_is_refused_is_failed(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    drop(project.inbox, A.key, NO_SKU, 3_000_000)
    assert not project.run("ingest_inbox").success
    assert partitions(project) == {A.key: "failed"}
    assert_counts_are_right(project)


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_a_file_that_cannot_be_read_is_a_failed_partition_with_the_reason(
    project: Project, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    project.drop(B)
    monkeypatch.setattr("lfp_pipeline.sources.inbox_source.InboxSource.fetch", _unreadable)
    project.instance.add_dynamic_partitions("product_files", [B.key])
    run = project.ingest(B.key) if job == "ingest_products" else project.run(job)
    assert not run.success
    assert partitions(project) == {A.key: "materialized", B.key: "failed"}
    assert partitions(project, "raw_products")[B.key] == "failed"
    shown = project.metadata("products", B.key)
    assert (shown["status"], shown["file"]) == ("not landed", B.key)
    assert shown["why"] == "The disk is on fire."
    assert_counts_are_right(project)


def _unreadable(*_arguments: object) -> None:
    raise LandingError("The disk is on fire.", permanent=True)


def test_operations_show_the_present_state_of_the_partition(project: Project) -> None:
    project.drop(A)
    project.drop(B)
    project.run("ingest_inbox")
    operate(project, "revert_delivery", delivery_id=B.delivery_id)
    shown = project.metadata("products", B.key)
    assert shown["status"] == "reverted"
    assert "Reverted at" in shown["why"]
    assert_counts_are_right(project)

    operate(project, "revert_delivery", delivery_id=B.delivery_id, reinstate=True)
    shown = project.metadata("products", B.key)
    assert (shown["status"], shown["rows_read"]) == ("merged", 2)
    assert_counts_are_right(project)

    operate(project, "purge_products", skus=["s1", "s2"])
    shown = project.metadata("products", "purges")
    assert (shown["status"], shown["rows"]) == ("merged", "2 deleted")
    assert "purges" in project.registered
    assert_counts_are_right(project)

    before = project.materialization("products")
    operate(project, "rebuild_products")
    rebuilt = project.materialization("products")
    assert (rebuilt != before, rebuilt.partition) == (True, None)
    assert_counts_are_right(project)


def test_an_operation_on_another_version_shows_the_version_in_force(project: Project) -> None:
    newer = File(A.key, 3_000_000, (*A.rows, ("s9", "Zoe", "")))
    for file in (A, newer):
        project.drop(file)
        project.run("ingest_inbox")
    drop(project.inbox, A.key, NO_SKU, 2_000_000)
    project.run("ingest_inbox")
    ((refused,),) = query(
        project.data, "SELECT delivery_id FROM deliveries WHERE status = 'refused'"
    )
    for job, delivery_id in (("revert_delivery", A.delivery_id), ("dismiss_delivery", refused)):
        assert operate(project, job, delivery_id=delivery_id).success
        shown = project.materialization("products", A.key)
        assert shown.metadata["status"].value == "merged"
        assert shown.metadata["delivery_id"].value == newer.delivery_id
        assert newer.delivery_id.endswith(shown.tags["dagster/data_version"][:16])
        assert partitions(project) == {A.key: "materialized"}
    assert operate(project, "revert_delivery", delivery_id=newer.delivery_id).success
    shown = project.materialization("products", A.key)
    assert shown.metadata["status"].value == "reverted"
    assert shown.metadata["delivery_id"].value == newer.delivery_id


def test_each_instance_shows_what_another_has_done(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    with dg.DagsterInstance.ephemeral() as instance:
        other = project_of(project.data, instance, project.home)
        assert other.run("ingest_inbox").success
        assert other.materialized("products") == set()  # It begins with what happens from now on.
        project.drop(B)
        project.run("ingest_inbox")
        for _ in range(2):
            run = other.run("ingest_inbox")
            assert other.materialized("products") == {B.key}
            assert other.metadata("products", B.key)["rows_read"] == 2
        assert not [event for event in run.all_events if event.is_step_materialization]
        assert_counts_are_right(other)
    run = project.run("ingest_inbox")
    assert not [event for event in run.all_events if event.is_step_materialization]


@pytest.fixture
def other(project: Project) -> Iterator[Project]:
    """Yield another instance on the same data folder, which shows what happens from now on."""
    project.drop(A)
    project.run("ingest_inbox")
    with dg.DagsterInstance.ephemeral() as instance:
        other = project_of(project.data, instance, project.home)
        assert other.run("ingest_inbox").success
        yield other


def note_of(project: Project, file: File) -> Path:
    (note,) = project.data.glob(f"raw/{file.key}/*.outcome")
    return note


def set_time_of_note(project: Project, file: File, time_ns: int) -> None:
    os.utime(note_of(project, file), ns=(time_ns, time_ns))
    (project.data / "raw.index").unlink()


def test_a_status_note_that_appears_late_is_shown(project: Project, other: Project) -> None:
    project.drop(B)
    project.run("ingest_inbox")
    set_time_of_note(project, B, note_of(project, A).stat().st_mtime_ns - 1_000_000)
    other.run("ingest_inbox")
    assert other.materialized("products") == {B.key}


def test_a_status_note_of_the_future_hides_no_other(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    set_time_of_note(project, A, time.time_ns() + 3_600_000_000_000)
    with dg.DagsterInstance.ephemeral() as instance:
        other = project_of(project.data, instance, project.home)
        other.run("ingest_inbox")
        for file in (B, File("c.csv", 3_000_000, B.rows)):
            project.drop(file)
            project.run("ingest_inbox")
            other.run("ingest_inbox")
            assert file.key in other.materialized("products")
        assert len(other.instance.get_runs()) == 3
        run = other.run("ingest_inbox")
        assert not [event for event in run.all_events if event.is_step_materialization]


def test_a_rebuild_shows_what_another_instance_has_done(project: Project, other: Project) -> None:
    project.drop(B)
    project.run("ingest_inbox")
    assert operate(other, "rebuild_products").success
    assert other.materialized("products") == {B.key}
    assert_counts_are_right(other)


def test_a_version_that_another_instance_refused_is_shown(project: Project, other: Project) -> None:
    project.drop(File(A.key, 3_000_000, B.rows))
    project.run("ingest_inbox")
    other.run("ingest_inbox")
    assert other.metadata("products", A.key)["status"] == "merged"
    drop(project.inbox, A.key, NO_SKU, 4_000_000)
    project.run("ingest_inbox")
    (project.inbox / A.key).unlink()
    assert other.run("ingest_inbox").success
    shown = other.metadata("products", A.key)
    assert (shown["status"], shown["dagster/row_count"]) == ("refused", 4)
    assert "The header has no column sku" in shown["why"]
    assert_counts_are_right(other)


def test_many_changes_of_another_instance_are_shown_in_steps(
    project: Project, other: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST_MISSING", 2)
    keys = {f"{number}.csv" for number in range(5)}
    for key in keys:
        project.drop(File(key, 2_000_000, A.rows))
    project.run("ingest_inbox")
    for shown in (2, 4, 5, 5):
        other.run("ingest_inbox")
        assert len(other.materialized("products") & keys) == shown


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
@pytest.mark.parametrize("older", [File(A.key, 500_000, B.rows).content, NO_SKU])
def test_a_page_shows_the_version_in_force_whatever_arrives_later(
    project: Project, job: str, older: bytes | str
) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    drop(project.inbox, A.key, older, 500_000)
    run = project.ingest(A.key) if job == "ingest_products" else project.run(job)
    assert run.success == (older != NO_SKU)
    assert partitions(project) == {A.key: "materialized"}
    assert shown_delivery(project, A.key) == A.delivery_id
    assert_counts_are_right(project)


def test_a_dry_run_shows_nothing(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    before = project.materialization("products")
    for job, config in (
        ("revert_delivery", {"delivery_id": A.delivery_id}),
        ("purge_products", {"everything": True}),
        ("rebuild_products", {}),
    ):
        assert operate(project, job, dry_run=True, **config).success
    assert project.materialization("products") == before


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_a_reverted_file_that_is_ingested_again_shows_its_rows_after_a_reinstatement(
    project: Project, job: str
) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    mark_reverted(project.engine.raw_zone.find(A.delivery_id).path)  # A reversal that still lasts.
    run = project.ingest(A.key) if job == "ingest_products" else project.run(job)
    assert run.success
    assert project.metadata("products", A.key)["status"] == "reverted"
    assert_counts_are_right(project)
    assert operate(project, "revert_delivery", delivery_id=A.delivery_id, reinstate=True).success
    shown = project.metadata("products", A.key)
    assert (shown["status"], shown["rows_read"]) == ("merged", 3)
    assert_counts_are_right(project)


class _Story:
    """Random operations on a project."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.time = 1_000_000

    def step(self) -> str:
        what = self.random.choice(
            ["drop", "drop", "bad", "ingest", "inbox", "revert", "reinstate", "purge", "rebuild"]
        )
        getattr(self, f"_{what}")()
        return what

    def _file(self) -> str:
        return self.random.choice(["a.csv", "b.csv", "c.csv"])

    def _drop(self) -> None:
        self.time += 1_000_000
        skus = self.random.sample(range(9), self.random.randint(1, 5))
        rows = tuple((f"s{sku}", self.random.choice("ABC"), "") for sku in skus)
        self.project.drop(File(self._file(), self.time, rows))
        if self.random.random() < 0.5:
            self._inbox()

    def _bad(self) -> None:
        self.time += 1_000_000
        drop(self.project.inbox, self._file(), f"name\n{self.time}\n", self.time)
        self._inbox()

    def _ingest(self) -> None:
        self.project.ingest(self._file())

    def _inbox(self) -> None:
        self.project.run("ingest_inbox")

    def _deliveries(self) -> list[str]:
        found = query(self.project.data, "SELECT delivery_id FROM deliveries ORDER BY ALL")
        return [id_ for (id_,) in found]

    def _revert(self, *, reinstate: bool = False) -> None:
        delivery_id = self.random.choice(self._deliveries())
        operate(self.project, "revert_delivery", delivery_id=delivery_id, reinstate=reinstate)

    def _reinstate(self) -> None:
        self._revert(reinstate=True)

    def _purge(self) -> None:
        operate(self.project, "purge_products", skus=[f"s{self.random.randrange(9)}"])

    def _rebuild(self) -> None:
        operate(self.project, "rebuild_products")


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_after_any_operations_the_latest_row_counts_are_those_of_the_tables(
    project: Project, seed: int
) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    story = _Story(project, seed)
    for _ in range(10):
        what = story.step()
        for table in ("products", "name_counts"):
            ((rows,),) = query(project.data, f"SELECT count(*) FROM {table}")
            assert project.metadata(table)["dagster/row_count"] == rows, (what, table)
        assert set(evaluations(project).values()) == {True}, what
        for key in project.materialized("products"):
            assert shown_delivery(project, key) == newest_delivery(project, key), (what, key)


@pytest.fixture
def overlapping(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Merge A by a run that ends after another run, which merges B meanwhile."""
    get_connection = ProductsDatabase.get_connection

    def after_another_run(database: ProductsDatabase) -> Any:  # noqa: ANN401
        monkeypatch.setattr(ProductsDatabase, "get_connection", get_connection)
        project.drop(B)
        assert project.run("ingest_inbox").success
        return get_connection(database)

    project.drop(A)
    monkeypatch.setattr(ProductsDatabase, "get_connection", after_another_run)
    return project


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_checks_and_counts_are_right_though_runs_end_in_another_order(
    overlapping: Project, job: str
) -> None:
    run = overlapping.ingest(A.key) if job == "ingest_products" else overlapping.run(job)
    assert run.success
    assert len(overlapping.instance.get_runs()) == 2
    assert_counts_are_right(overlapping)
    for file in (A, B):
        which = dg.AssetRecordsFilter(dg.AssetKey("products"), asset_partitions=[file.key])
        assert len(overlapping.instance.fetch_materializations(which, limit=9).records) == 1


def test_a_late_event_with_an_old_count_is_followed_by_the_right_one(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    late = dg.AssetMaterialization("products", metadata={"dagster/row_count": 1})
    project.instance.report_runless_asset_event(late)
    project.drop(B)
    project.run("ingest_inbox")
    project.instance.report_runless_asset_event(late)
    operate(project, "revert_delivery", delivery_id=B.delivery_id)
    assert_counts_are_right(project)


def test_a_file_with_many_rejects_stays_in_the_check_until_another_version(
    project: Project,
) -> None:
    drop(project.inbox, "some bad.csv", FEW_REJECTS)
    project.run("ingest_inbox")
    project.drop(B)
    project.run("ingest_inbox")
    assert evaluations(project)["reject_share"] is False
    assert evaluation(project, "reject_share")["files"] == "some bad.csv: 1 of 61 rows"
    drop(project.inbox, "some bad.csv", HEADER + "".join(GOOD), 3_000_000)
    project.run("ingest_inbox")
    assert evaluations(project)["reject_share"] is True


def test_a_failed_run_leaves_the_results_of_the_checks(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    before = {spec.name: evaluation(project, spec.name) for spec in CHECKS}
    with duckdb.connect(project.data / "products.duckdb"):
        project.drop(B)
        assert not project.ingest(B.key).success
    assert {spec.name: evaluation(project, spec.name) for spec in CHECKS} == before
    assert before["sku_unique"]["repeated_skus"] == 0
    assert project.ingest(B.key).success
    assert_counts_are_right(project)


def test_a_blocking_check_that_failed_fails_until_its_cause_is_gone(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    database = project.data / "products.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute("UPDATE deliveries SET rows_read = 9")
    assert not project.ingest(A.key).success
    project.drop(B)
    assert not project.run("ingest_inbox").success
    assert evaluations(project)["rows_accounted_for"] is False
    assert project.metadata("products", B.key)["status"] == "merged"
    with duckdb.connect(database) as connection:
        connection.execute(
            "UPDATE deliveries SET rows_read = 3 WHERE rows_read = 9 AND rows_inserted = 3"
        )
        connection.execute("UPDATE deliveries SET rows_read = 2 WHERE rows_read = 9")
    project.drop(File("c.csv", 3_000_000, A.rows))
    assert project.run("ingest_inbox").success
    assert_counts_are_right(project)


def test_checks_without_tables_say_so_and_create_none(project: Project) -> None:
    job = project.repository.get_implicit_global_asset_job_def()
    keys = [spec.key for spec in CHECKS]
    run = job.get_subset(asset_selection=set(), asset_check_selection=set(keys)).execute_in_process(
        instance=project.instance, raise_on_error=False
    )
    assert "no tables yet" in project.error(run)
    assert not (project.data / "products.duckdb").exists()


@pytest.mark.parametrize("names", [["sku_unique"], [spec.name for spec in CHECKS]])
def test_checks_can_be_evaluated_on_their_own(project: Project, names: list[str]) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    keys = [spec.key for spec in CHECKS if spec.name in names]
    job = project.repository.get_implicit_global_asset_job_def()
    run = job.get_subset(asset_selection=set(), asset_check_selection=set(keys)).execute_in_process(
        instance=project.instance
    )
    assert sorted(project.checks(run.run_id)) == sorted(names)
    assert_counts_are_right(project)


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_log_ledger_and_page_agree_on_the_duration(project: Project, job: str) -> None:
    project.drop(A)
    run = project.ingest(A.key) if job == "ingest_products" else project.run(job)
    ((seconds,),) = query(project.data, "SELECT seconds FROM deliveries")
    assert project.metadata("products", A.key)["seconds"] == pytest.approx(seconds, abs=0.001)
    messages = [entry.user_message for entry in project.instance.all_logs(run.run_id)]
    assert f"a.csv: 3 rows (3 inserted) in {seconds:.2f} s" in messages


def test_a_file_of_a_busy_database_is_a_failed_partition_with_the_reason(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    project.drop(B)
    with running(HOLD_DATABASE, project.data / "products.duckdb"):
        assert not project.ingest(B.key).success
    assert partitions(project)[B.key] == "failed"
    shown = project.metadata("products", B.key)
    assert shown["status"] == "failed"
    assert "open" in shown["why"]
    assert project.ingest(B.key).success
    assert_counts_are_right(project)


def test_a_failing_run_does_not_wait_for_the_database(tmp_path: Path, home: Path) -> None:
    with project_in(tmp_path, home, other_process_wait_seconds=60) as project:
        project.drop(A)
        project.run("ingest_inbox")
        with running(HOLD_DATABASE, project.data / "products.duckdb"):
            started = time.monotonic()
            assert not project.ingest("nowhere.csv").success
            assert time.monotonic() - started < 30
        shown = project.metadata("products", "nowhere.csv")
        assert shown["dagster/row_count"] == 3
