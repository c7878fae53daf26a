"""Dismissing refused and failed deliveries, on a real instance."""

import pytest

from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from testing.dagster_project import NO_SKU, Project, drop, query
from testing.engine import LOG, land
from testing.expected_tables import File, expected_products

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))


def needs_attention(project: Project) -> list[str]:
    project.engine.published.publish(LOG)
    tables = collect_status(project.engine).tables
    return [row["partition_key"] for row in tables.needs_attention] if tables else []


def newest_id(project: Project, key: str) -> str:
    delivery = project.engine.raw_zone.newest(key)
    assert delivery
    return delivery.delivery_id


def dismiss(project: Project, key: str, **config: object) -> str:
    options = {"delivery_id": newest_id(project, key), **config}
    run = project.run("dismiss_delivery", config={"ops": {"dismiss": {"config": options}}})
    assert run.success
    (output,) = [event for event in run.all_events if event.is_successful_output]
    return str(output.event_specific_data.metadata["summary"].value)


@pytest.fixture
def refused(project: Project) -> Project:
    project.drop(A)
    drop(project.inbox, "bad.csv", NO_SKU)
    assert not project.run("ingest_inbox").success
    assert needs_attention(project) == ["bad.csv"]
    return project


def test_a_dismissed_file_needs_no_attention_and_fails_no_run(refused: Project) -> None:
    summary = dismiss(refused, "bad.csv")
    assert "is dismissed" in summary
    assert "The header has no column sku" in summary
    assert needs_attention(refused) == []
    assert "bad.csv" not in render_status(collect_status(refused.engine)).partition("Last")[0]
    assert refused.run("ingest_inbox").success
    assert refused.tick().run_requests == []
    assert refused.products == expected_products([A])
    shown = refused.metadata("products", "bad.csv")
    assert shown["status"] == "reverted"
    assert "Dismissed at" in shown["why"]
    assert "It was refused: The header has no column sku" in shown["why"]


def test_a_dismissal_survives_a_rebuild_and_the_loss_of_the_database(refused: Project) -> None:
    dismiss(refused, "bad.csv")
    assert refused.run("rebuild_products", config={"ops": {"rebuild": {"config": {}}}}).success
    assert needs_attention(refused) == []
    (refused.data / "products.duckdb").unlink()
    assert refused.run("ingest_inbox").success
    assert needs_attention(refused) == []
    sql = "SELECT error FROM deliveries WHERE status = 'reverted'"
    assert "It was refused: The header has no column sku" in query(refused.data, sql)[0][0]


def test_a_new_version_of_a_dismissed_file_needs_attention_again(refused: Project) -> None:
    dismiss(refused, "bad.csv")
    drop(refused.inbox, "bad.csv", NO_SKU, 5_000_000)
    assert not refused.run("ingest_inbox").success
    assert needs_attention(refused) == ["bad.csv"]


def test_a_dismissed_delivery_can_be_reinstated(refused: Project) -> None:
    dismiss(refused, "bad.csv")
    delivery_id = newest_id(refused, "bad.csv")
    config = {"ops": {"revert": {"config": {"delivery_id": delivery_id, "reinstate": True}}}}
    assert "would be refused" in refused.error(refused.run("revert_delivery", config=config))
    path = refused.engine.raw_zone.find(delivery_id).path
    assert path.with_suffix(".reverted").exists()


def test_a_failed_delivery_is_dismissed_and_not_tried_again(project: Project) -> None:
    delivery = land(project.engine, A)
    delivery.path.write_bytes(b"damaged")
    assert not project.run("ingest_inbox").success
    assert needs_attention(project) == [A.key]
    assert "It failed: " in dismiss(project, A.key)
    assert needs_attention(project) == []
    assert project.engine.pending_deliveries(LOG) == []
    assert project.run("ingest_inbox").success


def test_only_refused_and_failed_deliveries_are_dismissed(refused: Project) -> None:
    with pytest.raises(OperationRefusedError, match="It is merged"):
        dismiss_delivery(refused.engine, A.delivery_id, LOG)
    dismiss(refused, "bad.csv")
    with pytest.raises(OperationRefusedError, match="reverted or dismissed already"):
        dismiss_delivery(refused.engine, newest_id(refused, "bad.csv"), LOG)


def test_a_dry_run_dismisses_nothing(refused: Project) -> None:
    assert "would be dismissed" in dismiss(refused, "bad.csv", dry_run=True)
    assert needs_attention(refused) == ["bad.csv"]


def test_a_file_that_was_removed_from_the_inbox_needs_no_attention(refused: Project) -> None:
    (refused.inbox / "bad.csv").unlink()
    assert needs_attention(refused) == []
    assert refused.run("ingest_inbox").success


def test_a_refused_file_from_elsewhere_needs_attention(project: Project) -> None:
    elsewhere = project.data.parent / "elsewhere.csv"
    elsewhere.write_text(NO_SKU)
    assert not project.ingest("mine", source=elsewhere).success
    assert needs_attention(project) == ["mine"]
