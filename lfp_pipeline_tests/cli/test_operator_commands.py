"""The commands that correct and maintain the tables, each on real files and a real instance."""

import re

import duckdb
import pytest

from lfp_pipeline.cli import operate
from lfp_pipeline.engine import Engine
from testing.command_line import CommandLine
from testing.dagster_project import NAME_COUNTS, NO_SKU, PRODUCTS, drop, query
from testing.engine import tables
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.processes import HOLD_DATABASE, running

pytestmark = pytest.mark.slow  # Each starts processes.

FULL_ID = re.compile(r"[\w.]+#\d{8}T\d{6}\.\d{6}Z#[0-9a-f]{16}")

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Cid", "")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s2", "Eva", ""), ("s4", "Ann", "w")))
B2 = File("b.csv", 3_000_000, (("s4", "Dan", "w"),))


@pytest.fixture
def stocked(lfp: CommandLine) -> CommandLine:
    lfp.drop(A, B)
    lfp.done("ingest")
    return lfp


def assert_tables_of(lfp: CommandLine, *files: File) -> None:
    assert query(lfp.data, PRODUCTS) == expected_products(files)
    assert query(lfp.data, NAME_COUNTS) == expected_name_counts(files)


def test_a_delivery_is_reverted_and_reinstated_by_the_name_of_its_file(stocked: CommandLine):
    before = tables(stocked.engine)
    runs = len(stocked.runs())
    planned = stocked.done("revert", "b.csv", "--dry-run", "--json").json
    assert planned["figures"] == {
        "delivery_id": B.delivery_id,
        "products": 3,
        "deletions": 0,
        "replacements": 2,
    }
    assert planned["run_id"] is None
    assert tables(stocked.engine) == before
    assert len(stocked.runs()) == runs
    done = stocked.done("revert", "b.csv", "--json").json
    assert (done["figures"]["products"], done["problems"]) == (3, [])
    assert_tables_of(stocked, A)
    run = stocked.runs()[0]
    assert (run.run_id, run.job_name, run.status.value) == (
        done["run_id"],
        "revert_delivery",
        "SUCCESS",
    )
    for again in ((), ("--dry-run",), ("--latest",)):
        refused = stocked("revert", "b.csv", *again)
        assert refused.code == 3
        assert "is reverted already" in refused.err
    assert "b.csv" in stocked.done("reinstate", str(stocked.data / "inbox" / "b.csv")).out
    assert_tables_of(stocked, A, B)
    assert stocked("reinstate", "b.csv").code == 3


def test_of_several_deliveries_of_a_file_the_newest_or_the_reverted_one_is_taken(
    stocked: CommandLine,
):
    stocked.drop(B2)
    stocked.done("ingest")
    refused = stocked("revert", "b.csv")
    assert refused.code == 3
    assert B.label in refused.err
    assert "--latest" in refused.err
    assert len(refused.err.splitlines()) <= 3
    beginning = B.delivery_id[:-10]
    assert "remains reverted" in stocked.done("revert", "--help").out
    stocked.done("revert", beginning)
    assert_tables_of(stocked, A, B2)
    stocked.done("reinstate", "b.csv")
    stocked.done("revert", "b.csv", "--latest")
    assert_tables_of(stocked, A, B)
    drop(stocked.data / "inbox", "b.csv", NO_SKU, 4_000_000)
    assert stocked("ingest").code == 3
    assert B.label in stocked.done("revert", "b.csv", "--dry-run").out
    stocked.done("revert", "b.csv", "--latest")  # The newest that is merged.
    assert_tables_of(stocked, A)


def test_an_empty_text_names_no_delivery(stocked: CommandLine):
    for command in (
        *(["revert", ""], ["revert", "", "--latest"], ["reinstate", " "], ["dismiss", ""]),
        *(["rejects", ""], ["deliveries", ""], ["purge", "--file", ""], ["ingest", ""]),
    ):
        ended = stocked(*command)
        assert (ended.code, ended.out) == (2, "")
        assert "the text is empty" in ended.err
    assert len(stocked.runs()) == 1


def test_a_purge_names_the_skus_without_a_product_and_is_undone(stocked: CommandLine):
    planned = stocked.done("purge", "s1", "none", "--dry-run")
    assert "1 of 4 products would be deleted" in planned.out
    assert "Without a product: none." in planned.out
    assert_tables_of(stocked, A, B)
    stocked.done("purge", "--skus-from", "-", stdin="s1\n\n s2 \n")
    assert [sku for sku, *_ in query(stocked.data, PRODUCTS)] == ["s3", "s4"]
    stocked.done("revert", "purges", "--latest")
    assert_tables_of(stocked, A, B)
    stocked.done("purge", "--file", "a.csv")
    assert [sku for sku, *_ in query(stocked.data, PRODUCTS)] == ["s1", "s2", "s4"]


def test_a_purge_needs_exactly_one_selection_and_all_needs_a_confirmation(stocked: CommandLine):
    for arguments in ((), ("s1", "--all"), ("--skus-from", "-")):
        ended = stocked("purge", *arguments)
        assert ended.code == 2
    unconfirmed = stocked("purge", "--all")
    assert unconfirmed.code == 2
    assert "--yes" in unconfirmed.err
    assert_tables_of(stocked, A, B)
    assert "4 of 4 products were deleted" in stocked.done("purge", "--all", "--yes").out
    assert query(stocked.data, PRODUCTS) == []


def test_an_unknown_file_is_refused_in_a_line(stocked: CommandLine):
    for arguments in (("revert", "no.csv"), ("purge", "--file", "no.csv"), ("reinstate", "no")):
        ended = stocked(*arguments)
        assert ended.code == 3
        assert len(ended.err.splitlines()) <= 3


def test_the_tables_are_verified_rebuilt_exported_published_and_pruned(stocked: CommandLine):
    checked = stocked.done("verify", "--full", "--json").json
    assert checked["figures"]["problems"] == 0
    rebuilt = stocked.done("rebuild")
    assert "exactly as they were" in rebuilt.out
    progress = [line for line in rebuilt.err.splitlines() if line.startswith("Rebuilt ")]
    assert [line.partition(":")[0] for line in progress] == ["Rebuilt 1 of 2", "Rebuilt 2 of 2"]
    assert "Would read 2 deliveries" in stocked.done("rebuild", "--dry-run").out
    stocked.done("export", "--format", "csv")
    assert (stocked.data / "exports" / "products.csv").exists()
    assert not (stocked.data / "exports" / "products.parquet").exists()
    stocked.done("publish")
    assert "up to date" in stocked.done("publish").out
    assert stocked.done("prune", "--older-than", "0", "--json").json["figures"]["kept"] == 2
    assert "a.csv" in stocked.done("prune", "--older-than", "0", "--include-needed", "--yes").out
    assert stocked("prune", "--include-needed").code == 2
    assert stocked("rebuild", "--allow-data-loss").code == 2
    assert_tables_of(stocked, A, B)


def test_texts_have_short_names_and_each_number_once(stocked: CommandLine):
    for command in (
        *(["revert", "b.csv", "--dry-run"], ["revert", "b.csv"], ["reinstate", "b.csv"]),
        *(["purge", "s1"], ["revert", "purges"], ["rebuild"], ["verify"], ["export"], ["publish"]),
        ["prune", "--older-than", "0", "--include-needed", "--yes"],
    ):
        ended = stocked.done(*command)
        assert not FULL_ID.search(ended.out + ended.err), ended
        assert len(ended.out.splitlines()) == 1
    assert FULL_ID.search(stocked.done("purge", "s3", "--dry-run", "--json").out) is None
    assert FULL_ID.fullmatch(stocked.done("purge", "s3", "--json").json["figures"]["delivery_id"])


def test_json_has_the_reason_of_a_run_that_fails_after_its_operation(stocked: CommandLine):
    with duckdb.connect(stocked.data / "products.duckdb") as connection:
        connection.execute("INSERT INTO product_rows FROM product_rows WHERE sku = 's2'")
    ended = stocked("revert", "a.csv", "--json")
    assert ended.code == 1
    assert "a.csv#" in ended.json["summary"]
    (problem,) = ended.json["problems"]
    assert "These checks of products fail" in problem


def test_verify_fails_with_a_line_for_each_problem(stocked: CommandLine):
    (raw,) = stocked.data.glob("raw/a.csv/*.raw")
    raw.chmod(0o600)
    raw.write_bytes(b"other")
    ended = stocked("verify")
    assert ended.code == 1
    assert ended.out.startswith("1 problem.")
    assert "a.csv" in ended.out.splitlines()[-1]
    found = stocked("verify", "--json").json
    assert len(found["problems"]) == 1
    assert found["run_id"] == stocked.runs()[0].run_id


def test_a_change_is_published_at_once_on_request(lfp: CommandLine):
    lfp.set(publish_time_share=0)
    lfp.drop(A)
    lfp.done("ingest")
    assert not lfp.engine.published.exists
    lfp.done("publish")
    assert lfp.engine.published.exists
    assert not lfp.engine.published.is_stale


def test_a_database_in_use_is_exit_code_5(stocked: CommandLine):
    with running(HOLD_DATABASE, str(stocked.data / "products.duckdb")):
        ended = stocked("purge", "s1")
        assert ended.code == 5
        assert "is open in another program" in ended.err
        assert stocked("purge", "s1", "--dry-run").code == 5
        assert stocked.runs()[0].run_id in ended.err
    assert_tables_of(stocked, A, B)


def test_wrong_arguments_are_usage_errors_without_a_traceback(lfp: CommandLine):
    (lfp.folder / "skus.txt").write_bytes(b"s1\n\xff\n")
    for command in (
        ["purge", "--older-than", "nan"],
        ["purge", "--older-than", "inf"],
        ["prune", "--older-than", "nan"],
        ["status", "--watch", "inf"],
        ["status", "--watch", "1e300"],
        ["purge", "--skus-from", "skus.txt"],
    ):
        ended = lfp(*command)
        assert (ended.code, ended.out) == (2, "")
        assert "Error: " in ended.err


def test_a_command_builds_one_engine(stocked: CommandLine, monkeypatch: pytest.MonkeyPatch):
    built = []
    build = operate.engine_of_project

    def counted(*, read_only: bool) -> Engine:
        built.append(read_only)
        return build(read_only=read_only)

    monkeypatch.setattr(operate, "engine_of_project", counted)
    stocked.done("revert", "a.csv", "--dry-run")
    assert built == [True]
