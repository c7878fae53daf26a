"""The assets: ingest_products of chosen partitions, on a real instance."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from lfp_pipeline.cli.ingest_targets import find_targets
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.reading.reader import SkippedLines
from testing.cases import first_fast
from testing.dagster_project import (
    LEDGER,
    NAME_COUNTS,
    NO_SKU,
    PARTITION_TAG,
    RANGE_TAGS,
    Project,
    drop,
    project_in,
    query,
)
from testing.engine import LOG, land, patch_reading
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.http_server import content_of, serving, status
from testing.raw_marks import mark_reverted

A = File(
    "a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s1", "Ann", "z"), ("s9", "Dot"))
)
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))
C = File("c.csv", 500_000, (("s1", "Old", ""), ("s4", "New", "")))

NUMBERS = {
    "dagster/row_count",
    "rows_read",
    "rejected",
    "seconds",
}
"""The metadata keys of a merged delivery that the UI plots."""

CHECKS = ["sku_unique", "rows_accounted_for", "reject_share", "delivery_times", "counts_match"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Project]:
    """A project after one run of ingest_products, of a partition that was new."""
    folder = tmp_path_factory.mktemp("first")
    with project_in(folder, home, max_reject_share=1) as project:
        project.drop(A)
        assert project.ingest(A.key).success
        yield project


@pytest.fixture(scope="module")
def run_id(first: Project) -> str:
    return first.instance.get_runs()[0].run_id


def test_a_new_partition_is_merged_and_added_to_the_instance(first: Project) -> None:
    assert first.registered == [A.key]
    assert first.materialized("raw_products") == first.materialized("products") == {A.key}
    assert first.products == expected_products([A])
    assert query(first.data, NAME_COUNTS) == expected_name_counts([A])


def test_all_checks_are_evaluated_and_only_reject_share_fails(first: Project, run_id: str) -> None:
    assert first.checks(run_id) == dict.fromkeys(CHECKS, True) | {"reject_share": False}


def test_name_counts_is_the_last_step_of_the_run(first: Project, run_id: str) -> None:
    steps = [
        entry.dagster_event.step_key
        for entry in first.instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.is_step_success
    ]
    assert steps == ["raw_products", "products", "name_counts"]
    assert first.metadata("name_counts")["dagster/row_count"] == len(expected_name_counts([A]))


def test_of_two_versions_with_the_same_time_the_metadata_shows_the_later_landed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(project.engine, File("a.csv", 1, (("s1", "Ann", ""),)))
    newer = land(project.engine, File("a.csv", 2, (("s1", "Bob", ""),), stated=1))
    ingest_all = Engine.ingest_all

    def newest_first(engine: Engine, *others: Any) -> list[Any]:  # noqa: ANN401
        results = [item for item in ingest_all(engine, *others) if isinstance(item, IngestResult)]
        return sorted(results, key=lambda result: result.delivery.order_key, reverse=True)

    monkeypatch.setattr(Engine, "ingest_all", newest_first)
    assert project.ingest("a.csv").success
    assert project.metadata("products", "a.csv")["delivery_id"] == newer.delivery_id


def test_the_data_version_is_the_sha256(first: Project) -> None:
    sha256 = hashlib.sha256(A.content).hexdigest()
    for asset in ("raw_products", "products"):
        found = first.materialization(asset, A.key)
        assert found.tags
        assert found.tags["dagster/data_version"] == sha256


def test_the_metadata_has_the_rows_by_outcome_the_speed_and_the_source(first: Project) -> None:
    metadata = first.metadata("products", A.key)
    expected = {
        "dagster/row_count": 2,
        "rows_read": 4,
        "status": "merged",
        "file": A.key,
        "rows": "2 inserted, 1 superseded, 1 rejected",
        "rejected": 1,
        "delivery_id": A.delivery_id,
        "source": str(first.inbox / A.key),
        "delivered_at": "1970-01-01 00:00:01.000000 UTC",
        "fix_rejects": f"lfp rejects {A.key}",
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["speed"].endswith(" rows/s")


def test_the_metadata_has_few_numbers_because_each_is_plotted(first: Project) -> None:
    metadata = first.materialization("products", A.key).metadata
    numbers = dg.IntMetadataValue, dg.FloatMetadataValue
    assert {key for key, value in metadata.items() if isinstance(value, numbers)} == NUMBERS


def test_the_metadata_omits_skipped_lines_and_notes_if_there_are_none(first: Project) -> None:
    metadata = first.metadata("products", A.key)
    assert metadata.keys().isdisjoint({"skipped", "notes"})


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_the_metadata_has_skipped_lines_by_kind_and_notes_as_plain_text(
    project: Project, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    notes = "A column is called '**[x](http://x)**'.", "<b>The header is in line 4.</b>"
    patch_reading(monkeypatch, SkippedLines(blank=1_500, above_header=3), *notes)
    project.drop(B)
    run = project.ingest(B.key) if job == "ingest_products" else project.run(job)
    assert run.success
    found = project.materialization("products", B.key).metadata
    assert found["skipped"].value == "1,500 blank lines, 3 lines above the header"
    assert found["notes"] == dg.MetadataValue.text("\n".join(notes))


def test_the_metadata_has_samples_of_products_and_rejects_and_the_top_names(first: Project) -> None:
    metadata = first.metadata("products", A.key)
    products = [dict(record.data) for record in metadata["sample_of_products"].records]
    assert products == [
        {"sku": "s2", "name": "Bob", "description": "y"},
        {"sku": "s1", "name": "Ann", "description": "z"},
    ]
    (reject,) = [record.data for record in metadata["sample_of_rejects"].records]
    assert reject == {
        "row_number": 4,
        "reason": "missing columns, 2 columns instead of 3",
        "raw": "s9,Dot",
    }
    names = [dict(record.data) for record in first.metadata("name_counts")["top_names"].records]
    assert names == [{"name": "Ann", "no_of_products": 1}, {"name": "Bob", "no_of_products": 1}]


def test_the_metadata_has_the_raw_file_and_its_size(first: Project) -> None:
    metadata = first.metadata("raw_products", A.key)
    assert metadata["size_bytes"] == len(A.content)
    assert Path(metadata["raw_file"]).read_bytes() == A.content


def test_a_run_shows_the_ledger_of_a_delivery_that_another_run_has_merged(
    project: Project,
) -> None:
    project.drop(B)
    project.ingest(B.key)
    before = project.metadata("products", B.key)
    assert project.ingest(B.key).success
    after = project.metadata("products", B.key)
    for shown in ("status", "rows", "rows_read", "seconds", "delivery_id", "dagster/row_count"):
        assert after[shown] == before[shown]
    assert "merged_before_at" in after.keys() - before.keys()
    assert len(query(project.data, LEDGER)) == 1


@pytest.mark.parametrize("job", first_fast(["ingest_products", "ingest_inbox"]))
def test_a_run_shows_the_ledger_if_another_run_merged_first(
    project: Project, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    reconcile = ingest.reconcile_batch

    def reconcile_second(*arguments: Any) -> Any:  # noqa: ANN401
        reconcile(*arguments)  # Another run, which has read the same file meanwhile.
        return reconcile(*arguments)

    monkeypatch.setattr(ingest, "reconcile_batch", reconcile_second)
    project.drop(B)
    run = project.ingest(B.key) if job == "ingest_products" else project.run(job)
    assert run.success
    shown = project.metadata("products", B.key)
    assert "merged_before_at" in shown
    assert shown["rows"] == "2 inserted"


def test_a_run_whose_delivery_is_reverted_shows_no_rows(project: Project) -> None:
    project.drop(B)
    project.ingest(B.key)
    mark_reverted(project.engine.raw_zone.find(B.delivery_id).path)  # Then the process was killed.
    assert project.ingest(B.key).success
    assert project.products == []
    after = project.metadata("products", B.key)
    assert after["status"] == "reverted"
    assert after.keys().isdisjoint({"rows", "rows_read"})


def test_a_range_is_merged_and_each_partition_has_its_own_metadata(project: Project) -> None:
    for file in (B, C):
        project.drop(file)
    project.instance.add_dynamic_partitions("product_files", [C.key, B.key])
    run = project.ingest(C.key, B.key)
    assert run.success
    assert project.products == expected_products([B, C])
    assert project.materialized("products") == {B.key, C.key}
    assert project.checks(run.run_id) == dict.fromkeys(CHECKS, True)
    for file in (B, C):
        metadata = project.metadata("products", file.key)
        assert metadata["delivery_id"] == file.delivery_id
        assert metadata["rows_read"] == len(file.rows)


def test_in_a_range_a_refused_file_fails_the_run_and_stops_no_other(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    for file in (B, C):
        project.drop(file)
    project.instance.add_dynamic_partitions("product_files", [B.key, "bad.csv", C.key])
    run = project.ingest(B.key, C.key)
    assert "1 file is not merged.\nbad.csv was refused: The header has no column sku" in (
        project.error(run)
    )
    assert project.products == expected_products([B, C])
    assert project.metadata("products", "bad.csv")["status"] == "refused"
    assert project.metadata("products", C.key)["rows_read"] == len(C.rows)


def test_an_empty_range_fails_with_the_reason(project: Project) -> None:
    project.instance.add_dynamic_partitions("product_files", [B.key, C.key])
    assert "The range is empty" in project.error(project.ingest(C.key, B.key))


def test_a_source_is_merged_into_the_partition_of_the_run(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "some where.csv"
    elsewhere.write_bytes(B.content)
    assert project.ingest("mine", source=elsewhere).success
    assert [row[:3] for row in project.products] == [row[:3] for row in expected_products([B])]
    assert project.metadata("products", "mine")["source"] == str(elsewhere)


def test_a_source_for_several_partitions_fails_with_the_reason(project: Project) -> None:
    project.instance.add_dynamic_partitions("product_files", [B.key, C.key])
    config = {"ops": {"raw_products": {"config": {"source": "x.csv"}}}}
    tags = dict(zip(RANGE_TAGS, (B.key, C.key), strict=True))
    run = project.run("ingest_products", tags, config)
    assert "A source feeds one partition, but this run has several" in project.error(run)


def configured(project: Project, **config: object) -> dg.ExecuteInProcessResult:
    """Run ingest_products with a configuration, and without a partition."""
    return project.run("ingest_products", config={"ops": {"raw_products": {"config": config}}})


@pytest.mark.parametrize("name", ["b.csv", "it's b.csv"])
def test_the_partition_can_be_given_by_configuration(project: Project, name: str) -> None:
    drop(project.inbox, name, B.content, B.microseconds)
    run = configured(project, partition=name)
    assert run.success
    (key,) = project.registered
    assert project.materialized("raw_products") == project.materialized("products") == {key}
    assert project.metadata("products", key)["file"] == name
    tags = project.instance.get_runs()[0].tags
    assert (tags[PARTITION_TAG], tags["lfp/files"]) == (key, name)
    for asset in ("raw_products", "products"):
        assert project.materialization(asset).partition == key


def test_a_source_without_a_partition_is_merged_under_its_own_name(
    project: Project, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "some where.csv"
    elsewhere.write_bytes(B.content)
    assert configured(project, source=str(elsewhere)).success
    (key,) = project.registered
    assert project.metadata("products", key)["file"] == "some where.csv"
    assert configured(project, source=str(elsewhere), partition="mine").success
    assert project.materialized("products") == {key, "mine"}


@pytest.mark.parametrize("name", ["x#1.csv", "what?.csv", "my%20file.csv"])
def test_a_source_is_the_same_partition_from_the_command_line(
    project: Project, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(B.content)
    assert configured(project, source=str(path)).success
    (target,) = find_targets(project.engine, [str(path)], None, LOG)
    assert project.registered == [target.key] == [partition_key(name)]


def test_a_location_from_the_environment_is_named_by_its_value(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "export.csv").write_bytes(B.content)
    monkeypatch.setenv("EXPORT", str(tmp_path / "export.csv"))
    assert configured(project, source="${EXPORT}").success
    assert project.registered == ["export.csv"]
    monkeypatch.setenv("PART", "export.csv")
    run = configured(project, source=f"{tmp_path}/${{PART}}")
    assert "names no partition" in project.error(run)  # The value may be a secret.


@pytest.mark.parametrize("source", ["ftp://ann:hunter2@host", "http://[host/a.csv?token=hunter2"])
def test_a_source_without_a_name_needs_a_partition_and_shows_no_password(
    project: Project, source: str
) -> None:
    run = configured(project, source=source)
    assert "hunter2" not in project.error(run)
    assert "hunter2" not in str(project.instance.get_runs()[0].tags)


def test_a_failed_run_of_a_configured_partition_shows_the_partition_as_failed(
    project: Project,
) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    assert not configured(project, partition="bad.csv").success
    assert project.metadata("products", "bad.csv")["status"] == "refused"
    planned = project.instance.get_latest_planned_materialization_info(
        dg.AssetKey("products"), "bad.csv"
    )
    assert planned


def test_a_configuration_with_another_partition_than_the_run_is_refused(project: Project) -> None:
    config = {"ops": {"raw_products": {"config": {"partition": "b.csv"}}}}
    run = project.run("ingest_products", {PARTITION_TAG: "a.csv"}, config)
    assert "names the partition b.csv, and the run is one of a.csv" in project.error(run)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing.csv", "missing.csv cannot be read: No such file"),
        ("gopher://host/key.csv", "gopher:// is not supported. Give a URL (abfs,"),
    ],
)
def test_a_source_that_cannot_be_fetched_fails_with_the_reason(
    project: Project, source: str, reason: str
) -> None:
    run = project.ingest("mine", source=source)
    assert f"1 file is not merged.\nmine did not land: {reason}" in project.error(run)
    assert project.registered == []


def test_a_run_without_a_partition_fails_with_how_to_name_one(project: Project) -> None:
    error = project.error(project.run("ingest_products"))
    assert "This run names no partition." in error
    assert """--tags '{"dagster/partition": "FILE"}'""" in error


def test_a_file_without_a_source_fails_with_what_to_do_and_adds_no_partition(
    project: Project,
) -> None:
    error = project.error(project.ingest("nowhere.csv"))
    assert f"There is no file nowhere.csv in the inbox {project.inbox}" in error
    assert "Drop the file there, name it in the sources file" in error
    assert project.registered == []


def test_products_alone_of_a_partition_without_deliveries_fails(project: Project) -> None:
    run = project.repository.get_job("ingest_products").execute_in_process(
        asset_selection=[dg.AssetKey("products")],
        tags={PARTITION_TAG: B.key},
        instance=project.instance,
        raise_on_error=False,
    )
    assert "b.csv did not land: There is no delivery." in project.error(run)
    assert project.metadata("products", B.key)["status"] == "not landed"


def test_an_invalid_partition_key_fails_with_the_reason(project: Project) -> None:
    error = project.error(project.ingest("../../etc"))
    assert "'../../etc' is no partition key" in error
    assert not (project.data / "raw").exists()


def test_a_refused_file_has_a_ledger_entry_and_a_raw_file(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    run = project.ingest("bad.csv")
    assert "bad.csv was refused: The header has no column sku" in project.error(run)
    ((key, status, error),) = query(project.data, LEDGER)
    assert (key, status) == ("bad.csv", "refused")
    assert error.startswith("The header has no column sku")
    assert project.materialized("raw_products") == {"bad.csv"}


def test_a_refused_file_is_tried_again_by_another_run_of_its_partition(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    project.ingest("bad.csv")
    assert "bad.csv was refused" in project.error(project.ingest("bad.csv"))


def test_the_delivery_of_a_file_that_left_the_inbox_remains(project: Project) -> None:
    project.drop(B)
    project.ingest(B.key)
    (project.inbox / B.key).unlink()
    assert project.ingest(B.key).success
    assert project.products == expected_products([B])


def test_a_pending_earlier_delivery_is_merged_with_the_newer_one(project: Project) -> None:
    newer = File(B.key, 3_000_000, (("s9", "Zoe", ""),))
    project.drop(B)
    with duckdb.connect(project.data / "products.duckdb"):
        assert not project.ingest(B.key).success
    project.drop(newer)
    assert project.ingest(B.key).success
    assert project.products == expected_products([B, newer])
    assert project.metadata("products", B.key)["delivery_id"] == newer.delivery_id


def test_manual_edits_of_counts_are_repaired_and_reported(project: Project) -> None:
    project.drop(B)
    project.ingest(B.key)
    with duckdb.connect(project.data / "products.duckdb") as by_hand:
        by_hand.execute("UPDATE name_counts SET no_of_products = 7")
        by_hand.execute("INSERT INTO name_counts VALUES ('Nobody', 1)")
    run = project.ingest(B.key)
    assert query(project.data, NAME_COUNTS) == expected_name_counts([B])
    assert project.checks(run.run_id)["counts_match"]
    (check,) = [
        check for check in run.get_asset_check_evaluations() if check.check_name == "counts_match"
    ]
    assert check.metadata["names_repaired"].value == 2


def test_duplicated_products_fail_the_blocking_check(project: Project) -> None:
    project.drop(B)
    project.ingest(B.key)
    with duckdb.connect(project.data / "products.duckdb") as by_hand:
        by_hand.execute("INSERT INTO product_rows FROM product_rows WHERE sku = 's3'")
    run = project.ingest(B.key)
    assert not run.success
    assert not project.checks(run.run_id)["sku_unique"]


def test_every_asset_has_table_columns_lineage_and_owner(project: Project) -> None:
    graph = project.repository.asset_graph
    for asset, table in (("products", "main.products"), ("name_counts", "main.name_counts")):
        node = graph.get(dg.AssetKey(asset))
        assert node.metadata["dagster/table_name"] == table
        assert node.metadata["dagster/column_schema"].columns
        assert node.metadata["dagster/column_lineage"].deps_by_column
        assert (list(node.owners), node.group_name) == (["team:data"], "products")
        assert node.code_version
        assert node.description


def _traces_of(project: Project, run_id: str) -> str:
    """Return the traces of a run: events, log lines, small files of the data folder, ledger."""
    events = "".join(map(dg.serialize_value, project.instance.all_logs(run_id)))
    files = [path.read_text() for path in project.data.rglob("*.json")]
    return "".join([events, *files, str(query(project.data, LEDGER))])


def test_a_location_reads_its_secrets_from_the_environment_and_shows_none(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    with (
        project_in(tmp_path, home, allowed_hosts="127.0.0.1", download_attempts=1) as project,
        serving(content_of(B.content), status(403)) as server,
    ):
        shown = server.url("/feeds/${SHOP_PASSWORD}/a.csv")
        url = shown.replace("//", "//ann:${SHOP_PASSWORD}@") + "?token=${SHOP_PASSWORD}"
        run = project.ingest("mine", source=url)
        assert run.success
        assert project.products[0][0] == "s1"
        assert server.requests[0]["path"] == "/feeds/hunter2/a.csv?token=hunter2"
        assert server.requests[0]["Authorization"] == "Basic YW5uOmh1bnRlcjI="
        assert project.metadata("products", "mine")["source"] == shown
        traces = _traces_of(project, run.run_id)
        assert shown in traces
        assert "hunter2" not in traces
        error = project.error(project.ingest("mine", source=url))
        assert f"{shown} answered 403" in error
        assert "hunter2" not in error
        files = [path.read_bytes() for path in project.data.rglob("*") if path.is_file()]
        assert b"hunter2" not in b"".join(files)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://ann:hunter2@example.com/a.csv", "write https://${SHOP_USER}:${SHOP_PASSWORD}@"),
        ("https://example.com/a.csv?api_key=hunter2", "write api_key=${SHOP_TOKEN}"),
        ("sftp://ann:hunter2@example.com/a.csv", "set the credentials of object stores"),
    ],
)
def test_a_password_in_a_location_is_refused_with_advice_to_change_it(
    project: Project, url: str, advice: str
) -> None:
    run = project.ingest("mine", source=url)
    error = project.error(run)
    assert advice in error
    assert "Dagster's history of runs keeps this text" in error
    assert "change the password" in error
    assert "hunter2" not in "".join(map(dg.serialize_value, project.instance.all_logs(run.run_id)))


def test_a_missing_variable_is_named(project: Project) -> None:
    error = project.error(project.ingest("mine", source="https://${NOT_THERE}@example.com/a.csv"))
    assert "ops.raw_products.config.source: the environment has no variable NOT_THERE." in error
    assert "history" not in error


def test_a_signed_url_is_merged_with_a_warning(tmp_path: Path, home: Path) -> None:
    with (
        project_in(tmp_path, home, allowed_hosts="127.0.0.1") as project,
        serving(content_of(B.content)) as server,
    ):
        run = project.ingest("mine", source=server.url("/a.csv?X-Amz-Signature=hunter2"))
        assert run.success
        traces = _traces_of(project, run.run_id)
        assert "is a signed URL: Dagster's history of runs shows the URL" in traces
        assert "hunter2" not in traces
