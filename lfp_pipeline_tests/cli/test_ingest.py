"""`lfp ingest` on real files, URLs and folders, with a real instance."""

import logging
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.sources.catalog import SourceCatalog
from lfp_pipeline.sources.inbox import Listing
from lfp_pipeline.sources.local_file import LocalFile
from testing.cases import first_fast
from testing.command_line import WITHOUT_PRIVILEGES, CommandLine, Ended, needs_permissions, start
from testing.dagster_project import NAME_COUNTS, NO_SKU, PRODUCTS, drop, query
from testing.engine import LOG, land
from testing.expected_tables import File, expected_name_counts, expected_products
from testing.http_server import content_of, serving, status
from testing.processes import HOLD_DATABASE, HOLD_OPEN, running

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))
SECRET = "hunter2secret"  # noqa: S105 (no real one)


def files_of(ended: Ended) -> dict[str, dict[str, Any]]:
    return {file["file"]: file for file in ended.json["files"]}


def assert_tables_of(lfp: CommandLine, *files: File) -> None:
    assert query(lfp.data, PRODUCTS) == expected_products(files)
    assert query(lfp.data, NAME_COUNTS) == expected_name_counts(files)


def write(path: Path, file: File) -> Path:
    drop(path.parent, path.name, file.content, file.microseconds)
    return path


def contents(*folders: Path) -> dict[Path, bytes]:
    """Return all files of folders with their bytes."""
    return {
        path: path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_everything_pending_is_ingested_and_each_file_has_its_row_counts(lfp: CommandLine):
    lfp.drop(A, B)
    drop(lfp.data / "inbox", "sub/no sku.csv", NO_SKU)
    ended = lfp("ingest", "--json")
    assert ended.code == 3
    found = files_of(ended)
    assert found["a.csv"]["status"] == found["b.csv"]["status"] == "merged"
    assert found["a.csv"]["delivery_id"] == A.delivery_id
    assert found["b.csv"]["rows"] == dict.fromkeys(found["b.csv"]["rows"], 0) | {
        "read": 2,
        "inserted": 1,
        "updated": 1,
    }
    assert found["sub/no sku.csv"]["status"] == "refused"
    assert "no column sku" in found["sub/no sku.csv"]["error"]
    assert_tables_of(lfp, A, B)
    (run,) = lfp.runs()
    assert {file["run_id"] for file in found.values()} == {run.run_id}
    assert len(ended.err.partition("sub_no_sku")[2].splitlines()) <= 3
    assert run.run_id in ended.err.splitlines()[-1]
    again = lfp("ingest")
    assert again.code == 3
    assert len(lfp.runs()) == 2


def test_without_anything_pending_no_run_is_made(lfp: CommandLine):
    lfp.drop(A)
    table = lfp.done("ingest").out.splitlines()
    assert table[0].split() == ["file", "status", "read", "inserted", "seconds"]
    assert table[1].split()[:4] == ["a.csv", "merged", "2", "2"]
    ended = lfp.done("ingest")
    assert "Nothing to do" in ended.err
    assert ended.out == ""
    assert lfp.done("ingest", "--json").json == {"files": []}
    assert len(lfp.runs()) == 1


def test_a_named_file_of_the_inbox_is_ingested_alone(lfp: CommandLine):
    lfp.drop(A, B)
    found = files_of(lfp.done("ingest", str(lfp.data / "inbox" / "b.csv"), "--json"))
    assert list(found) == ["b.csv"]
    assert_tables_of(lfp, B)
    assert list(files_of(lfp.done("ingest", "a.csv", "--json"))) == ["a.csv"]
    assert list(files_of(lfp.done("ingest", "data/inbox", "--json"))) == ["a.csv", "b.csv"]
    assert_tables_of(lfp, A, B)


def test_files_and_folders_outside_the_inbox_land_in_one_run(lfp: CommandLine):
    one = write(lfp.folder / "elsewhere" / "a.csv", A)
    write(lfp.folder / "folder" / "sub" / "b.csv", B)
    found = files_of(lfp.done("ingest", str(one), "folder", "--json"))
    assert [file["status"] for file in found.values()] == ["merged", "merged"]
    assert len(lfp.runs()) == 1
    assert len(query(lfp.data, PRODUCTS)) == 3
    again = files_of(lfp.done("ingest", str(one), "--json"))
    assert again["a.csv"]["run_id"] is None
    assert len(lfp.runs()) == 1


def test_a_dry_run_and_an_ingest_show_the_same_of_what_was_merged_or_reverted_before(
    lfp: CommandLine,
):
    lfp.drop(A, B)
    lfp.done("ingest")
    lfp.done("revert", "a.csv")
    command = ("ingest", "a.csv", "b.csv")
    planned, ended = (lfp.done(*command, *more) for more in (["--dry-run"], []))
    assert [line.split() for line in ended.out.splitlines()] == [
        ["file", "status", "read", "seconds"],
        ["a.csv", "already", "reverted"],
        ["b.csv", "already", "merged"],
    ]
    assert planned.out == ended.out
    for found in (files_of(lfp.done(*command, *more, "--json")) for more in (["--dry-run"], [])):
        for name, expected in (("a.csv", "already reverted"), ("b.csv", "already merged")):
            file = found[name]
            assert (file["status"], file["rows"], file["seconds"]) == (expected, None, None)


def test_another_name_is_another_file(lfp: CommandLine):
    path = write(lfp.folder / "a.csv", A)
    lfp.done("ingest", str(path), "--as", "my prices.csv")
    (delivery,) = lfp.engine.raw_zone.all_deliveries()
    assert delivery.partition_key.startswith("my_prices.csv-")
    assert lfp("ingest", "--as", "x.csv").code == 2
    assert lfp("ingest", "a.csv", str(path.parent), "--as", "x.csv").code == 2


def test_two_files_of_one_name_are_refused(lfp: CommandLine):
    paths = [write(lfp.folder / folder / "a.csv", A) for folder in ("one", "two")]
    ended = lfp("ingest", *map(str, paths))
    assert ended.code == 3
    assert "--as" in ended.err
    assert not lfp.engine.raw_zone.all_deliveries()


def test_a_refused_file_is_tried_again_on_request(lfp: CommandLine):
    path = lfp.folder / "c.csv"
    path.write_text("sku,name,description\na,Ann,x\nb,,y\n")
    assert lfp("ingest", "c.csv").code == 3
    lfp.set(max_reject_share=1)
    found = files_of(lfp.done("ingest", "c.csv", "--json"))
    assert found["c.csv"]["rows"]["rejected"] == found["c.csv"]["rows"]["inserted"] == 1


def test_a_secret_in_a_url_reaches_neither_instance_nor_data_nor_messages(
    lfp: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    lfp.set(allowed_hosts="127.0.0.1")
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    with serving(content_of(A.content)) as server:
        signed = server.url(f"/signed.csv?X-Amz-Signature={SECRET}&day=1")
        by_name = server.url("/named.csv?token=${SHOP_TOKEN}")
        ended = lfp.done("ingest", signed, by_name)
        assert any(SECRET in request["path"] for request in server.requests)
        assert SECRET not in ended.out + ended.err
        refused = lfp("ingest", server.url(f"/c.csv?password={SECRET}"))
        assert refused.code == 2
        assert SECRET not in refused.out + refused.err
        assert len(refused.err.splitlines()) <= 3
    assert {delivery.partition_key for delivery in lfp.engine.raw_zone.all_deliveries()} == {
        "signed.csv",
        "named.csv",
    }
    secret = SECRET.encode()
    assert not [path for path, raw in contents(lfp.home, lfp.data).items() if secret in raw]


def test_user_errors_print_at_most_three_lines(lfp: CommandLine):
    lfp.set(allowed_hosts="127.0.0.1", download_attempts=1)
    with serving(status(404)) as server:
        wrong = {
            "nothing.csv": (3, "There is no file nothing.csv"),
            server.url("/x.csv"): (1, "404"),
            "http://10.1.2.3/x.csv": (1, "LFP_ALLOWED_HOSTS"),
            server.url("/"): (2, "--as NAME"),
            "gopher://host/x.csv": (2, "gopher:// is not supported"),
            "h/x?token=secret": (3, "There is no file h/x..., neither"),
            "prices?.csv": (3, "There is no file prices..., neither"),
            "user:secret/x": (2, "user... is neither a file nor a URL"),
            "/dev/null": (3, "/dev/null is no regular file.\n"),
        }
        for argument, (code, text) in wrong.items():
            ended = lfp("ingest", argument)
            assert (ended.code, text in ended.err) == (code, True), ended.err
            assert len(ended.err.splitlines()) <= 4  # With the line that says what it looks at.
            assert "Traceback" not in ended.err
    assert lfp.runs() == []
    mistyped = lfp("ingest", "--jsn")
    assert mistyped.code == 2
    assert "--json" in mistyped.err


def test_a_named_source_is_fetched(lfp: CommandLine, monkeypatch: pytest.MonkeyPatch):
    lfp.set(allowed_hosts="127.0.0.1")
    with serving(content_of(A.content)) as server:
        sources = lfp.folder / "sources.yaml"
        sources.write_text(f"sources: [{{name: shop.csv, location: '{server.url()}'}}]")
        monkeypatch.setenv("LFP_SOURCES_FILE", str(sources))
        assert files_of(lfp.done("ingest", "shop.csv", "--json"))["shop.csv"]["status"] == "merged"


def test_a_file_that_a_program_writes_is_left_alone(lfp: CommandLine):
    lfp.drop(A, B)
    with running(HOLD_OPEN, str(lfp.data / "inbox" / "b.csv"), "r+"):
        lfp.done("ingest")
        assert_tables_of(lfp, A)
    lfp.done("ingest")
    assert_tables_of(lfp, A, B)


def test_a_busy_database_is_exit_code_5(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    lfp.drop(B)
    with running(HOLD_DATABASE, str(lfp.data / "products.duckdb")):
        ended = lfp("ingest")
    assert ended.code == 5
    assert "is open in another program" in ended.err


def test_pending_deliveries_of_the_raw_zone_are_ingested(lfp: CommandLine):
    landed: Delivery = land(lfp.engine, A)
    found = files_of(lfp.done("ingest", "--json"))
    assert found["a.csv"]["delivery_id"] == landed.delivery_id


def test_a_dry_run_shows_what_an_ingest_would_do_and_changes_no_byte(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    lfp.drop(B)
    drop(lfp.data / "inbox", "nosku.csv", NO_SKU)
    before = contents(lfp.home, lfp.data)
    ended = lfp("ingest", "--dry-run", "--json")
    assert ended.code == 3
    planned = files_of(ended)
    text = lfp("ingest", "--dry-run")
    assert "would be merged" in text.out
    assert "b.csv, updated (1):\n  row 1: s1 | Ann | z; replaces Ann | x" in text.out
    assert contents(lfp.home, lfp.data) == before
    ingested = files_of(lfp("ingest", "--json"))
    for name, status_then in (("b.csv", "merged"), ("nosku.csv", "refused")):
        assert planned[name]["status"] == f"would be {status_then}"
        assert ingested[name]["status"] == status_then
        assert planned[name]["rows"] == ingested[name]["rows"]


def test_a_dry_run_of_a_url_lands_nothing(lfp: CommandLine):
    lfp.set(allowed_hosts="127.0.0.1")
    before = contents(lfp.home, lfp.data)
    with serving(content_of(A.content)) as server:
        found = files_of(lfp.done("ingest", server.url("/a.csv"), "--dry-run", "--json"))
    assert found["a.csv"]["rows"]["inserted"] == 2
    assert contents(lfp.home, lfp.data) == before


@pytest.mark.parametrize("dry_run", first_fast([(), ("--dry-run",)]))
def test_an_error_names_the_file_as_people_know_it(lfp: CommandLine, dry_run: tuple[str, ...]):
    drop(lfp.data / "inbox", "-rf.csv", NO_SKU)
    for target, name in (("", "-rf.csv"), ("http://127.0.0.1:9/my%20x.csv", "my x.csv")):
        ended = lfp("ingest", *([target] if target else []), "--json", *dry_run)
        assert list(files_of(ended)) == [name]
        assert f"\n{name}: " in ended.err


def test_a_run_whose_files_are_merged_is_not_said_to_have_failed(lfp: CommandLine):
    write(lfp.folder / "a.csv", A)
    ended = lfp("ingest", "a.csv", "http://127.0.0.1:9/x.csv")
    assert ended.code == 1
    assert [run.status.value for run in lfp.runs()] == ["SUCCESS"]
    assert "x.csv: " in ended.err
    assert "failed; the UI has its log" not in ended.err


def test_a_run_that_fails_for_a_check_says_so_beside_its_refused_files(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    with duckdb.connect(lfp.data / "products.duckdb") as connection:
        connection.execute("INSERT INTO product_rows FROM product_rows WHERE sku = 's2'")
    lfp.drop(B)
    drop(lfp.data / "inbox", "bad.csv", NO_SKU)
    ended = lfp("ingest")
    assert ended.code == 1
    assert "bad.csv: The header has no column sku" in ended.err
    assert "These checks of products fail" in ended.err


@pytest.mark.parametrize("folder", [".", "data", "data/raw", "data/published", "/"])
def test_the_data_folder_is_no_source(lfp: CommandLine, folder: str):
    lfp.drop(A)
    lfp.done("ingest")
    before = lfp.engine.raw_zone.all_deliveries()
    for dry_run in ((), ("--dry-run",)):
        ended = lfp("ingest", folder, *dry_run)
        assert ended.code == 3
        assert "has files of the data folder" in ended.err
        assert len(ended.err.splitlines()) <= 3
    assert lfp.engine.raw_zone.all_deliveries() == before


def test_a_busy_database_is_asked_for_a_named_file_only_by_the_run(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    lfp.drop(B)
    with running(HOLD_DATABASE, str(lfp.data / "products.duckdb")):
        ended = lfp("ingest", "b.csv", "--json")
    assert ended.code == 5
    assert ended.json == {"files": []}
    assert lfp.runs()[0].run_id in ended.err
    ended = lfp.done("ingest", "a.csv", "b.csv", "--json")
    found = {name: file["status"] for name, file in files_of(ended).items()}
    assert found == {"a.csv": "already merged", "b.csv": "merged"}


def test_many_names_list_the_inbox_once(lfp: CommandLine, monkeypatch: pytest.MonkeyPatch):
    listed = []
    list_files = SourceCatalog.list_stable_files

    def counted(catalog: SourceCatalog, log: logging.Logger) -> Listing:
        listed.append(catalog)
        return list_files(catalog, log)

    monkeypatch.setattr(SourceCatalog, "list_stable_files", counted)
    lfp.drop(A, B)
    drop(lfp.data / "inbox", "sub/c.csv", A.content)
    ended = lfp.done("ingest", "a.csv", "b.csv", "data/inbox/sub", "--dry-run", "--json")
    assert list(files_of(ended)) == ["a.csv", "b.csv", "sub/c.csv"]
    assert len(listed) == 1


@pytest.mark.slow
@needs_permissions
def test_a_file_that_cannot_be_read_is_one_line_and_stops_no_other(lfp: CommandLine):
    write(lfp.data / "inbox" / "in.csv", A).chmod(0)
    write(lfp.folder / "out.csv", A).chmod(0)
    write(lfp.folder / "locked" / "c.csv", A).parent.chmod(0)
    write(lfp.folder / "b.csv", B)
    refused = {
        "in.csv": (1, "Give the user that runs this read permission, or remove it."),
        "out.csv": (1, "Give the user that runs this read permission, or remove it."),
        "locked/c.csv": (1, "Give the user that runs this read permission, or remove it."),
        "locked": (3, "Make it readable."),
    }
    commands = {name: ["ingest", name] for name in refused}
    commands["in.csv"].append("b.csv")
    started = {name: start(*commands[name], wrapper=WITHOUT_PRIVILEGES) for name in refused}
    for name, (code, remedy) in refused.items():
        out, err = started[name].communicate(timeout=120)
        assert (started[name].returncode, name.rpartition("/")[2] in err) == (code, True), err
        (line,) = [line for line in err.splitlines() if "Permission denied" in line]
        assert "cannot be read: Permission denied" in line
        assert line.endswith(remedy)
        assert ("b.csv" in out) == (name == "in.csv")
        assert "Nothing to do" not in err
    assert_tables_of(lfp, B)


@pytest.mark.parametrize("dry_run", first_fast([(), ("--dry-run",)]))
def test_what_is_no_file_or_left_out_is_refused_with_the_reason(
    lfp: CommandLine, dry_run: tuple[str, ...]
):
    inbox = lfp.data / "inbox"
    (inbox / "sub").mkdir()
    (lfp.folder / "out").mkdir()
    for pipe in (inbox / "p.csv", inbox / "sub" / "q.csv", lfp.folder / "out" / "r.csv"):
        os.mkfifo(pipe)
    write(inbox / ".hidden.csv", A)
    write(inbox / ".sub" / "s.csv", A)
    for name, code, reason in (
        ("p.csv", 3, "cannot be ingested now: a pipe."),
        (".hidden.csv", 3, "now: ignored by its name. Rename .hidden.csv.\n"),
        ("data/inbox/.sub/s.csv", 3, "now: ignored by its name. Rename .sub.\n"),
        ("data/inbox/sub", 3, "has no file that can be ingested now: sub/q.csv (a pipe)."),
        ("out", 3, "has no file that can be ingested now: r.csv (a pipe)."),
        ("out/r.csv", 3, "out/r.csv is no regular file.\n"),
    ):
        ended = lfp("ingest", name, *dry_run)
        assert (ended.code, reason in ended.err) == (code, True), ended.err
        assert len(ended.err.splitlines()) == 2
    assert lfp.runs() == []
    lfp.drop(A)
    assert ".hidden.csv (ignored by its name)" in lfp.done("ingest", "data/inbox", *dry_run).err


def test_a_dry_run_says_what_is_merged_already_and_what_it_does_not_count(lfp: CommandLine):
    lfp.drop(A)
    lfp.done("ingest")
    lfp.engine.raw_zone.land(
        LocalFile(write(lfp.folder / "skus.csv", File("x", 5, ()))), PURGES, LOG, kind=Kind.DELETION
    )
    ended = lfp.done("ingest", "a.csv", "--dry-run")
    assert "already merged" in ended.out
    assert "inserted" not in ended.out
    assert "Merged or reverted already, so nothing would change: a.csv." in ended.err
    assert "Pending purges and reversals come first, and are not counted here: purges#" in ended.err
    assert files_of(lfp.done("ingest", "--dry-run", "--json")) == {}
    lfp.set(batch_files=1)
    lfp.drop(B, File("c.csv", 3_000_000, B.rows))
    assert "These files are merged one after the other" in lfp.done("ingest", "--dry-run").err


def test_a_long_url_is_no_file_name_that_is_too_long(lfp: CommandLine):
    ended = lfp("ingest", f"http://127.0.0.1:9/x.csv?{'a' * 5000}")
    assert ended.code == 1
    assert "File name too long" not in ended.err


def test_a_url_that_names_no_file_needs_a_name(lfp: CommandLine):
    with serving(content_of(A.content)) as server:
        lfp.set(allowed_hosts="127.0.0.1")
        url = server.url("/?day=1")
        ended = lfp("ingest", url)
        assert (ended.code, "add --as NAME" in ended.err) == (2, True)
        assert list(files_of(lfp.done("ingest", url, "--as", "a.csv", "--json"))) == ["a.csv"]
