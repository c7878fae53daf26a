"""The job ingest_inbox, on a real instance."""

import re

import duckdb
import pytest

from lfp_pipeline.reading.reader import SkippedLines
from testing.dagster_project import HEADER, LEDGER, NAME_COUNTS, NO_SKU, Project, drop, query
from testing.engine import patch_reading
from testing.expected_tables import File, expected_name_counts, expected_products

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))

CHECKS = ["sku_unique", "rows_accounted_for", "reject_share", "delivery_times", "counts_match"]


def test_every_inbox_file_is_merged_and_shows_as_materialized(project: Project) -> None:
    project.drop(A)
    project.drop(B)
    run = project.run("ingest_inbox")
    assert run.success
    assert project.products == expected_products([A, B])
    assert project.materialized("raw_products") == {A.key, B.key}
    assert project.materialized("products") == {A.key, B.key}
    assert sorted(project.registered) == [A.key, B.key]
    assert project.checks(run.run_id) == dict.fromkeys(CHECKS, True)
    assert project.metadata("name_counts")["dagster/row_count"] == len(expected_name_counts([A, B]))


@pytest.mark.parametrize(
    ("skipped", "expected"),
    [
        (SkippedLines(), ""),
        (
            SkippedLines(1, 1, 1),
            "; skipped: 1 blank line, 1 repeated header, 1 line above the header",
        ),
        (
            SkippedLines(1_500, 2, 3),
            "; skipped: 1,500 blank lines, 2 repeated headers, 3 lines above the header",
        ),
    ],
)
def test_the_log_has_counts_of_skipped_lines_and_no_notes(
    project: Project, monkeypatch: pytest.MonkeyPatch, skipped: SkippedLines, expected: str
) -> None:
    patch_reading(monkeypatch, skipped, "The header is in line 4.")
    project.drop(A)
    run = project.run("ingest_inbox")
    messages = [entry.user_message for entry in project.instance.all_logs(run.run_id)]
    (line,) = [message for message in messages if message.startswith("a.csv: ")]
    assert re.fullmatch(rf"a\.csv: 2 rows \(2 inserted{expected}\) in \d+\.\d\d s", line)
    assert not any("line 4" in message for message in messages)


def test_a_file_of_skipped_lines_only_is_logged_with_zero_rows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_reading(monkeypatch, SkippedLines(blank=2))
    drop(project.inbox, A.key, HEADER)
    run = project.run("ingest_inbox")
    messages = [entry.user_message for entry in project.instance.all_logs(run.run_id)]
    assert any(
        message.startswith("a.csv: 0 rows (none; skipped: 2 blank lines) in ")
        for message in messages
    )


def test_ingest_inbox_logs_the_same_metadata_as_ingest_products(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    for asset in ("raw_products", "products"):
        by_inbox = project.materialization(asset, A.key)
        names = list(project.metadata(asset, A.key))
        (project.data / "products.duckdb").unlink()
        project.ingest(A.key)
        alone = project.materialization(asset, A.key)
        assert list(project.metadata(asset, A.key)) == names
        assert by_inbox.tags
        assert alone.tags
        version = "dagster/data_version"
        assert by_inbox.tags[version] == alone.tags[version]


def test_a_bad_file_fails_the_run_and_does_not_affect_others(project: Project) -> None:
    project.drop(A)
    drop(project.inbox, "bad.csv", NO_SKU)
    project.drop(B)
    run = project.run("ingest_inbox")
    assert "1 file is not merged.\nbad.csv was refused: The header has no column sku" in (
        project.error(run)
    )
    assert project.products == expected_products([A, B])
    assert project.checks(run.run_id) == dict.fromkeys(CHECKS, True)
    ledger = {key: (status, error) for key, status, error in query(project.data, LEDGER)}
    assert ledger[A.key] == ledger[B.key] == ("merged", None)
    status, error = ledger["bad.csv"]
    assert status == "refused"
    assert error.startswith("The header has no column sku")


def test_twenty_of_many_bad_files_are_named_and_the_others_counted(project: Project) -> None:
    for number in range(23):
        drop(project.inbox, f"bad{number}.csv", f"name\nAnn{number}\n")
    error = project.error(project.run("ingest_inbox"))
    assert "23 files are not merged." in error
    assert error.count("was refused") == 20
    assert "And 3 more" in error


def test_a_run_with_nothing_pending_logs_no_materialization(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    before = project.materialization("products", A.key)
    run = project.run("ingest_inbox")
    assert run.success
    assert project.checks(run.run_id) == {}
    assert project.materialization("products", A.key) == before


def test_an_empty_inbox_succeeds(project: Project) -> None:
    assert project.run("ingest_inbox").success


def test_a_missing_inbox_fails_the_run_with_the_reason(project: Project) -> None:
    project.inbox.rmdir()
    error = project.error(project.run("ingest_inbox"))
    assert f"The inbox {project.inbox} cannot be read: No such file or directory" in error


def test_a_bad_file_fails_every_run_until_it_is_fixed(project: Project) -> None:
    drop(project.inbox, A.key, NO_SKU, microseconds=1)
    assert not project.run("ingest_inbox").success
    assert not project.run("ingest_inbox").success
    project.drop(A)
    assert project.run("ingest_inbox").success


def test_a_pending_delivery_is_merged_once(project: Project) -> None:
    project.drop(A)
    project.drop(B)
    with duckdb.connect(project.data / "products.duckdb"):
        assert not project.ingest(A.key).success
        assert not project.ingest(B.key).success
    (project.inbox / B.key).unlink()
    run = project.run("ingest_inbox")
    assert run.success
    assert project.products == expected_products([A, B])
    messages = [entry.user_message for entry in project.instance.all_logs(run.run_id)]
    assert "Ingesting 1 inbox file and 1 landed delivery" in messages


def test_the_next_run_repairs_manual_edits_of_counts(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    with duckdb.connect(project.data / "products.duckdb") as by_hand:
        by_hand.execute("DELETE FROM name_counts WHERE name = 'Bob'")
    project.drop(B)
    run = project.run("ingest_inbox")
    assert query(project.data, NAME_COUNTS) == expected_name_counts([A, B])
    assert project.checks(run.run_id)["counts_match"]


def test_duplicated_products_fail_the_run(project: Project) -> None:
    project.drop(A)
    project.run("ingest_inbox")
    with duckdb.connect(project.data / "products.duckdb") as by_hand:
        by_hand.execute("INSERT INTO product_rows FROM product_rows WHERE sku = 's2'")
    project.drop(B)
    run = project.run("ingest_inbox")
    assert "These checks of products fail: sku_unique." in project.error(run)
    assert not project.checks(run.run_id)["sku_unique"]


@pytest.mark.parametrize("names", [["a.csv"], ["a.csv", "gone.csv"]])
def test_only_the_configured_files_are_merged(project: Project, names: list[str]) -> None:
    project.drop(A)
    project.drop(B)
    config = {"ops": {"ingest": {"config": {"files": dict.fromkeys(names, "")}}}}
    assert project.run("ingest_inbox", config=config).success
    assert project.products == expected_products([A])
