"""Dry runs change nothing in the data folder, and refuse a database that they would have to change.

Only lock files may come and go.
"""

import shutil
from pathlib import Path

import duckdb
import pytest

from testing.command_line import CommandLine
from testing.dagster_project import NO_SKU, drop
from testing.expected_tables import File

pytestmark = pytest.mark.slow  # Each starts processes.

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))
NEWER = File("a.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Cid", "")))
B = File("b.csv", 3_000_000, (("s2", "Bob", "w"),))

READING_TABLES = [
    ("revert", "a.csv", "--latest"),
    ("reinstate", "b.csv"),
    ("dismiss", "bad.csv"),
    ("purge", "s1"),
    ("prune", "--older-than", "0"),
    ("export",),
]
DRY_RUNS = [*READING_TABLES, ("ingest",), ("rebuild",), ("verify",)]


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.suffix != ".lock"
    }


@pytest.fixture
def merged(lfp: CommandLine) -> CommandLine:
    """A project with two versions of a file, a reverted one and a refused one."""
    for file in (A, NEWER, B):
        lfp.drop(file)
        lfp.done("ingest")
    lfp.done("revert", "b.csv")
    drop(lfp.data / "inbox", "bad.csv", NO_SKU)
    assert lfp("ingest").code == 3
    (lfp.data / "inbox" / "bad.csv").unlink()
    drop(lfp.data / "inbox", "new.csv", A.content)
    return lfp


def test_a_dry_run_changes_no_byte(merged: CommandLine) -> None:
    shutil.rmtree(merged.data / "work", ignore_errors=True)
    before = contents(merged.data)
    for command in DRY_RUNS:
        ended = merged(*command, "--dry-run")
        assert ended.code == 0, (command, ended.err)
        assert contents(merged.data) == before, command
    merged.done("show", "s1")
    assert contents(merged.data) == before


def test_a_dry_run_without_a_writable_work_folder_uses_that_of_temporary_files(
    merged: CommandLine,
) -> None:
    shutil.rmtree(merged.data / "work", ignore_errors=True)
    (merged.data / "work").write_text("a file is in the way")
    before = contents(merged.data)
    for command in (*READING_TABLES, ("ingest",)):
        ended = merged(*command, "--dry-run")
        assert ended.code == 0, (command, ended.err)
    assert "Ann   x" in merged.done("show", "s1", "--earlier", "9").out.partition("Earlier")[2]
    assert contents(merged.data) == before


def test_a_dry_run_refuses_a_missing_database_and_one_of_an_earlier_schema(
    merged: CommandLine,
) -> None:
    database = merged.data / "products.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute("DELETE FROM schema_version WHERE version > 5")
    for why in ("An earlier version of lfp", "There is no database"):
        before = contents(merged.data)
        for command in READING_TABLES:
            ended = merged(*command, "--dry-run")
            assert (ended.code, why in ended.err) == (3, True), (command, ended.err)
            assert ended.out == ""
            assert contents(merged.data) == before, command
        for path in merged.data.glob("products.duckdb*"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    assert merged("purge", "s1", "--dry-run").code == 3


def test_a_polled_source_is_not_planned(lfp: CommandLine) -> None:
    lfp.set(sources_file=lfp.folder / "sources.yaml")
    (lfp.folder / "sources.yaml").write_text(
        "sources: [{name: feed.csv, location: 'http://127.0.0.1:9/x.csv', interval: 60}]\n"
    )
    ended = lfp("ingest", "feed.csv", "--dry-run", "--json")
    assert ended.code == 3
    (file,) = ended.json["files"]
    assert file["status"] == "not planned: polled"
    assert "next poll" in file["error"]
