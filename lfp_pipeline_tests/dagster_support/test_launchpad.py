"""What the launchpads of jobs show, and what configurations mean."""

from typing import Any

import pytest
import yaml
from dagster._core.snap import snap_to_yaml

from lfp_pipeline.defs.operator_jobs import operator_jobs
from testing.dagster_project import LEDGER, NO_SKU, Project, drop, query
from testing.expected_tables import File

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))

OPERATIONS = [job.name for job in operator_jobs]
_CHOSEN: dict[str, dict[str, object]] = {
    "revert_delivery": {"delivery_id": A.delivery_id},
    "purge_products": {"everything": True},
}
"""What a user adds to the text in the launchpad; a refused delivery is dismissed."""


def launchpad(project: Project, job: str) -> dict[str, Any]:
    """Return the configuration in the launchpad, as the web server makes its text."""
    snapshot = project.repository.get_job(job).get_job_snapshot()
    types, key = snapshot.config_schema_snapshot, snapshot.mode_def_snaps[0].root_config_key
    text = snap_to_yaml.default_values_yaml_from_type_snap(types, types.get_config_snap(key or ""))
    return dict(yaml.safe_load(text) or {})


def fields(project: Project, job: str) -> dict[str, str | None]:
    """Return the description of each field of a job's op."""
    definition = project.repository.get_job(job)
    (op,) = definition.nodes
    schema = op.definition.config_schema.config_type  # type: ignore[attr-defined]
    return {name: field.description for name, field in schema.fields.items()}


@pytest.mark.parametrize("job", OPERATIONS)
def test_an_operation_opens_as_a_complete_dry_run_without_settings(
    project: Project, job: str
) -> None:
    shown = launchpad(project, job)
    assert shown.keys() <= {"ops", "loggers"}
    ((_, op),) = shown["ops"].items()
    assert op["config"]["dry_run"] is True
    described = fields(project, job)
    assert all(described.values())
    # A number that has no default is in the editor's help only.
    assert described.keys() - op["config"].keys() <= {"older_than_days"}


def test_a_missing_dry_run_means_what_it_meant(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    assert project.run("export_tables").success
    assert (project.data / "exports" / "products.parquet").exists()
    config = {"ops": {"purge": {"config": {"everything": True}}}}
    assert project.run("purge_products", config=config).success
    assert query(project.data, "FROM products") == []


def test_the_text_of_the_launchpad_is_a_valid_dry_run(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    drop(project.inbox, "bad.csv", NO_SKU)
    project.run("ingest_inbox")
    before = query(project.data, LEDGER)
    ((refused,),) = query(
        project.data, "SELECT delivery_id FROM deliveries WHERE status = 'refused'"
    )
    for job in OPERATIONS:
        shown = launchpad(project, job)
        ((_, op),) = shown["ops"].items()
        op["config"] |= _CHOSEN.get(job, {})
        if job == "dismiss_delivery":
            op["config"]["delivery_id"] = refused
        assert project.run(job, config=shown).success, job
    assert query(project.data, "SELECT sku FROM products") == [("s1",)]
    assert query(project.data, LEDGER) == before
    assert not (project.data / "exports").exists()


def test_ingest_products_shows_the_source_and_the_partition(project: Project) -> None:
    shown = launchpad(project, "ingest_products")["ops"]["raw_products"]["config"]
    assert shown == {"source": "", "partition": "", "named_source": False}


def test_a_configuration_with_settings_of_resources_is_still_accepted(project: Project) -> None:
    project.drop(A)
    settings = {"config": {"database": "/nowhere/x.duckdb", "writer_wait_seconds": 1.0}}
    config = {"resources": {"database": settings}}
    assert project.run("ingest_inbox", config=config).success
    assert query(project.data, "SELECT sku FROM products") == [("s1",)]
