"""The operator jobs on a real instance, with dry runs."""

import itertools
from contextlib import ExitStack

import duckdb
import pytest

from lfp_pipeline.defs import operator_jobs
from lfp_pipeline.errors import WarehouseBusyError
from lfp_pipeline.operations import Report
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import purge_products
from lfp_pipeline.warehouse import ledger
from testing.cases import first_fast
from testing.dagster_project import Project, query
from testing.engine import LOG, assert_invariants_hold, tables
from testing.expected_tables import File, expected_products
from testing.processes import HOLD_DATABASE, running

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Cid", "")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s2", "Eva", ""), ("s4", "Ann", "w")))

STATUS = "SELECT kind, status, rows_deleted FROM deliveries ORDER BY delivered_at"


@pytest.fixture
def stocked(project: Project) -> Project:
    project.drop(A)
    project.drop(B)
    assert project.run("ingest_inbox").success
    return project


def operate(project: Project, job: str, **config: object) -> str:
    """Run a job of one op, and return its summary."""
    op = job.partition("_")[0]
    run = project.run(job, config={"ops": {op: {"config": config}}})
    assert run.success
    (output,) = [event for event in run.all_events if event.is_successful_output]
    summary = output.event_specific_data.metadata["summary"].value
    if not config.get("dry_run"):
        assert project.checks(run.run_id).get("counts_match", True)
    return str(summary)


def test_a_delivery_is_reverted_and_reinstated(stocked: Project) -> None:
    before = tables(stocked.engine)
    summary = operate(stocked, "revert_delivery", delivery_id=B.delivery_id, dry_run=True)
    assert "It has won 3 products and deleted 0 skus." in summary
    assert "Older deliveries give rows for 2 products." in summary
    assert tables(stocked.engine) == before

    operate(stocked, "revert_delivery", delivery_id=B.delivery_id)
    assert stocked.products == expected_products([A])
    assert query(stocked.data, STATUS) == [("products", "merged", 0), ("products", "reverted", 0)]
    assert stocked.metadata("name_counts")["products"] == 3
    # Its file is still in the inbox; the delivery remains reverted.
    assert stocked.run("ingest_inbox").success
    assert stocked.products == expected_products([A])
    assert "1 reverted or dismissed: b.csv" in stocked.tick().skip_message
    assert stocked.ingest(B.key).success
    assert stocked.products == expected_products([A])

    summary = operate(stocked, "revert_delivery", delivery_id=B.delivery_id, reinstate=True)
    assert "is merged again. Products: 4." in summary
    assert_invariants_hold(stocked.engine, [A, B])


def test_operations_use_the_present_settings_on_request(stocked: Project) -> None:
    with duckdb.connect(stocked.data / "products.duckdb") as connection:
        connection.execute("UPDATE deliveries SET read_with = 'another', read_conditions = NULL")
    config = {"delivery_id": B.delivery_id}
    run = stocked.run("revert_delivery", config={"ops": {"revert": {"config": config}}})
    assert "were not recorded" in stocked.error(run)
    summary = operate(stocked, "revert_delivery", **config, use_present_settings=True)
    assert f"and corrected: {A.label}." in summary
    assert stocked.products == expected_products([A])
    operate(stocked, "revert_delivery", **config, reinstate=True, use_present_settings=True)
    operate(stocked, "rebuild_products", use_present_settings=True)
    assert_invariants_hold(stocked.engine, [A, B])


def test_products_are_purged_and_a_later_delivery_brings_them_back(stocked: Project) -> None:
    before = tables(stocked.engine)
    summary = operate(stocked, "purge_products", skus=["s1", "s3"], dry_run=True)
    assert summary == "2 of 4 products would be deleted. Skus: s1, s3."
    assert tables(stocked.engine) == before

    operate(stocked, "purge_products", skus=["s1", "s3"])
    assert [product[0] for product in stocked.products] == ["s2", "s4"]
    assert query(stocked.data, STATUS)[2:] == [("deletion", "merged", 2)]

    late_and_old = File("late.csv", 1_500_000, (("s1", "Old", ""), ("s5", "Old", "")))
    stocked.drop(late_and_old)
    assert stocked.run("ingest_inbox").success
    assert [product[0] for product in stocked.products] == ["s2", "s4", "s5"]

    newer = File("new.csv", 10**16, (("s1", "New", ""),))
    stocked.drop(newer)
    assert stocked.run("ingest_inbox").success
    assert next(product[:2] for product in stocked.products) == ("s1", "New")


@pytest.mark.parametrize(
    ("selection", "remaining"),
    first_fast(
        [
            pytest.param({"partition": "a.csv"}, ["s1", "s2", "s4"]),
            pytest.param({"everything": True}, []),
            pytest.param({"older_than_days": 1}, []),
            pytest.param({"older_than_days": 36_000}, ["s1", "s2", "s3", "s4"]),
        ],
        2,
    ),
)
def test_products_are_purged_by_partition_by_age_and_all(
    stocked: Project, selection: dict[str, object], remaining: list[str]
) -> None:
    operate(stocked, "purge_products", **selection)
    assert [product[0] for product in stocked.products] == remaining
    # A rebuild does not bring them back.
    (stocked.data / "products.duckdb").unlink()
    assert stocked.run("ingest_inbox").success
    assert [product[0] for product in stocked.products] == remaining


def test_a_purge_without_a_selection_is_refused(stocked: Project) -> None:
    run = stocked.run("purge_products", config={"ops": {"purge": {"config": {}}}})
    assert "Set exactly one of skus" in stocked.error(run)
    assert_invariants_hold(stocked.engine, [A, B])


def test_unneeded_deliveries_are_pruned_and_a_rebuild_gives_the_same_tables(
    stocked: Project,
) -> None:
    newer = File("a.csv", 3_000_000, A.rows)
    stocked.drop(newer)
    assert stocked.run("ingest_inbox").success
    before = tables(stocked.engine)
    assert "1 delivery" in operate(stocked, "prune_raw", older_than_days=0, dry_run=True)
    raw = stocked.engine.raw_zone.find(A.delivery_id).path
    assert raw.exists()
    operate(stocked, "prune_raw", older_than_days=0)
    assert not raw.exists()
    summary = operate(stocked, "rebuild_products")
    assert "Products and counts are exactly as they were." in summary
    assert tables(stocked.engine)["products"] == before["products"]
    done = query(stocked.data, "SELECT operation FROM operations ORDER BY started_at")
    assert done == [("prune_raw",), ("rebuild_products",)]
    # The ledger keeps the pruned deliveries, and nothing is pending.
    assert {row[0] for row in before["ledger"]} == {
        row[0] for row in tables(stocked.engine)["ledger"]
    }
    assert stocked.engine.pending_deliveries(LOG) == []
    assert stocked.engine.pending_inbox(LOG).ready == ()

    why = "older deliveries, which may have had them, are pruned"
    config = {"ops": {"revert": {"config": {"delivery_id": newer.delivery_id}}}}
    assert why in stocked.error(stocked.run("revert_delivery", config=config))
    assert tables(stocked.engine)["products"] == before["products"]


def test_an_operation_succeeds_though_the_database_is_opened_afterwards(
    stocked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = stocked.data / "products.duckdb"
    with ExitStack() as stack:

        def purge_and_open(*arguments: object, **options: object) -> Report:
            report = purge_products(*arguments, **options)  # type: ignore[arg-type]
            stack.enter_context(running(HOLD_DATABASE, database))
            return report

        monkeypatch.setattr(operator_jobs, "purge_products", purge_and_open)
        summary = operate(stocked, "purge_products", skus=["s1"])
    assert summary.startswith("1 of 4 products was deleted.")
    assert [product[0] for product in stocked.products] == ["s2", "s3", "s4"]


@pytest.mark.parametrize("job", ["verify", "export_tables"])
def test_an_operation_succeeds_though_it_cannot_be_logged(
    stocked: Project, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def occupied(*_arguments: object) -> None:
        raise WarehouseBusyError("open in another program")

    raw = stocked.engine.raw_zone.find(A.delivery_id).path
    raw.unlink()
    monkeypatch.setattr(ledger, "record_operation", occupied)
    run = stocked.run(job)
    if job == "verify":  # It reports the problem.
        assert f"{raw} is gone" in stocked.error(run)
    else:
        assert run.success
        assert (stocked.data / "exports" / "products.parquet").exists()


@pytest.mark.parametrize("job", ["export_tables", "publish_tables"])
def test_a_damaged_database_is_reported_with_its_remedy(stocked: Project, job: str) -> None:
    path = stocked.data / "products.duckdb"
    path.write_bytes(b"no database" * 1000)
    run = stocked.run(job)
    assert "is damaged, or is no database" in stocked.error(run)
    assert "Run `lfp rebuild`" in stocked.error(run)


def test_a_purge_is_published_though_its_result_cannot_be_shown(
    stocked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise duckdb.Error("no")

    monkeypatch.setattr(operator_jobs, "show_tables", fail)
    operate(stocked, "purge_products", skus=["s1"])
    with duckdb.connect(stocked.data / "published/products.duckdb", read_only=True) as copy:
        found = copy.execute("SELECT sku FROM products ORDER BY sku").fetchall()
    assert [sku for (sku,) in found] == ["s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("job", "ops", "keys"),
    first_fast(
        [
            pytest.param("verify", ("check_invariants", "laws"), ("full", "thorough")),
            pytest.param("prune_raw", ("prune",), ("include_needed", "even_if_needed")),
            pytest.param("rebuild_products", ("rebuild",), ("allow_data_loss", "accept_losses")),
            pytest.param(
                "revert_delivery", ("revert",), ("ignore_pruned_history", "despite_pruned")
            ),
        ]
    ),
)
def test_former_configuration_keys_and_op_names_are_accepted(
    stocked: Project, job: str, ops: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    config: dict[str, object] = {"dry_run": True}
    if job == "revert_delivery":
        prune_raw(stocked.engine, 0, LOG, include_needed=True)
        config["delivery_id"] = B.delivery_id
        stocked.engine.warehouse.path.unlink()
        with stocked.engine.warehouse.session("testing", LOG):
            pass
    for op, key in itertools.product(ops, keys):
        run = stocked.run(job, config={"ops": {op: {"config": config | {key: True}}}})
        assert run.success, stocked.error(run)


def test_the_launchpad_shows_the_present_names_only(stocked: Project) -> None:
    shown = {
        name
        for job in operator_jobs.operator_jobs
        for type_ in stocked.repository.get_job(
            job.name
        ).run_config_schema.config_type_dict_by_key.values()
        for name in getattr(type_, "fields", {})
    }
    former = {"laws", "despite_pruned", "even_if_needed", "accept_losses", "thorough"}
    assert shown >= {"check_invariants", "full", "include_needed"}
    assert not shown & former
