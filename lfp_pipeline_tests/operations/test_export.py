"""Exported files hold one state of the tables, and read back unchanged."""

import csv
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from lfp_pipeline.common.progress import heartbeat
from lfp_pipeline.common.text import format_size
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError, WarehouseBusyError
from lfp_pipeline.operations import export
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse.schema import tables_in_use
from testing.dagster_project import Project, query
from testing.engine import LOG, database_file, engine_at, land, tables
from testing.expected_tables import File
from testing.processes import running

FILES = ["name_counts.csv", "name_counts.parquet", "products.csv", "products.parquet"]

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s3", "Ann", "")))
B = File("b.csv", 2_000_001, (("s1", "Ann", "z"), ("s4", "Cid", "w")))

STRANGE = (
    ('qu"ote', 'Ann "the" Cat', 'a "b", c'),
    ("comma,semi;", "O'Neil, Jr.", "tab\there|"),
    ("lines", "two\nlines", "LF\nCRLF\r\nCR\rend\r\n"),
    ("blanks", "a  b", "  leading and trailing  "),
    ("=1+1", "=cmd|' /C calc'!A0", "=SUM(A1:A9)"),
    ("+1", "-2", "@3"),
    ("007", "1e5", "NULL"),
    ("null", "NULL", "null"),
    ("ß", "Zoë 日本語", "🦆\u00a0\u2028"),
    ("#hash", "'", '""'),
    ("empty", "name", ""),
    ("nan", "NaN", "\\N"),
    ("back\\slash", "\\", 'ends with "'),
)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = engine_at(tmp_path / "data", writer_wait_seconds=0.2, other_process_wait_seconds=0.2)
    made.ingest(land(made, A), LOG)
    return made


def folder_of(engine: Engine) -> Path:
    return engine.settings.data_dir / "exports"


def files_in(folder: Path) -> list[str]:
    """Return the file names, without the lock file."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def parquet(folder: Path, table: str) -> list[tuple[Any, ...]]:
    return sorted(duckdb.connect().read_parquet(str(folder / f"{table}.parquet")).fetchall())


def csv_rows(folder: Path, table: str) -> list[dict[str, str]]:
    """Return the rows as Python's csv module reads them (RFC 4180)."""
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def assert_exported(folder: Path, found: dict[str, list[tuple[Any, ...]]]) -> None:
    """Check that all four files hold these tables."""
    assert files_in(folder) == FILES
    assert parquet(folder, "products") == found["products"]
    assert parquet(folder, "name_counts") == found["name_counts"]
    columns = "sku", "name", "description", "delivery_id", "delivered_at", "row_number"
    rows = csv_rows(folder, "products")
    assert tuple(rows[0]) == columns
    assert sorted(tuple(row[column] for column in columns) for row in rows) == [
        (*texts, f"{timestamp.isoformat(timespec='microseconds')}Z", str(number))
        for *texts, timestamp, number in found["products"]
    ]
    counts = [(row["name"], int(row["no_of_products"])) for row in csv_rows(folder, "name_counts")]
    assert sorted(counts) == found["name_counts"]
    assert counts == sorted(counts, key=lambda count: (-count[1], count[0]))


@pytest.mark.parametrize("share", [0.1, 0])
def test_all_four_files_hold_the_tables(tmp_path: Path, share: float) -> None:
    engine = engine_at(tmp_path / "data", publish_time_share=share)
    for file in (A, B):
        engine.ingest(land(engine, file), LOG)
        report = export_tables(engine, LOG)
        assert_exported(folder_of(engine), tables(engine))
    assert engine.published.path.exists() == bool(share)
    assert report.summary.startswith(f"Exported 4 products and 3 names to {folder_of(engine)}: ")
    last = query(tmp_path / "data", "SELECT max(merged_at) FROM deliveries")[0][0]
    assert report.figures["last_merged_at"] == f"{last} UTC"
    assert report.figures["products.csv"] == (folder_of(engine) / "products.csv").stat().st_size
    logged = query(tmp_path / "data", "SELECT operation, summary FROM operations ORDER BY ended_at")
    assert [operation for operation, _ in logged] == ["export_tables"] * 2
    assert logged[-1][1] == report.summary


def random_rows(random: Random, number: int) -> list[tuple[str, str, str]]:
    """Return rows with characters that are special in CSV files, and distinct skus."""

    def text() -> str:
        return "".join(random.choices(" \"\n\r,;\t|=\\'aß0", k=random.randrange(9)))

    return [(f"s{index}-{text()}", f"n{text()}", text()) for index in range(number)]


def test_a_csv_file_that_is_dropped_into_an_inbox_reads_back_as_it_was(tmp_path: Path) -> None:
    rows = [*STRANGE, *random_rows(Random(7), 2_000)]
    first, second = (
        engine_at(tmp_path / name, publish_time_share=0) for name in ("first", "second")
    )
    source = tmp_path / "rows.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("sku", "name", "description"), *rows])
    first.ingest(first.land(LocalFile(source), "rows.csv", LOG), LOG)
    export_tables(first, LOG, formats=["csv"])
    dropped = second.settings.inbox_dir / "products.csv"
    dropped.write_bytes((folder_of(first) / "products.csv").read_bytes())
    (done,) = second.ingest_all(second.pending_inbox(LOG).ready, [], LOG)
    of_first, of_second = (
        query(engine.settings.data_dir, "SELECT sku, name, description FROM products ORDER BY ALL")
        for engine in (first, second)
    )
    assert of_first == sorted((sku.strip(), name.strip(), text) for sku, name, text in rows)
    assert of_second == of_first
    assert done.account.rows.inserted == done.account.rows.read == len(rows)


def test_an_empty_table_is_a_header(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.ingest(land(engine, File("a.csv", 1, ())), LOG)
    export_tables(engine, LOG)
    assert parquet(folder_of(engine), "products") == []
    header = (folder_of(engine) / "products.csv").read_text()
    assert header == '"sku","name","description",delivery_id,delivered_at,row_number\n'


@pytest.mark.parametrize("formats", [["parquet"], ["csv", "csv"]])
def test_only_the_given_formats_are_written(engine: Engine, formats: list[str]) -> None:
    export_tables(engine, LOG, formats=formats)
    assert files_in(folder_of(engine)) == [f"name_counts.{formats[0]}", f"products.{formats[0]}"]


@pytest.mark.parametrize("formats", [[], ["xlsx"], ["csv", "CSV"]])
def test_unknown_formats_are_refused(engine: Engine, formats: list[str]) -> None:
    with pytest.raises(OperationRefusedError, match="one or more of the formats parquet, csv"):
        export_tables(engine, LOG, formats=formats)
    assert not folder_of(engine).exists()


def test_export_without_a_database_is_refused(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    with pytest.raises(OperationRefusedError, match="There is no database"):
        export_tables(engine, LOG)
    assert not database_file(engine).exists()


@pytest.mark.parametrize(
    ("share", "state"),
    [(0.1, "the published copy, which would be published again first"), (0, "the database, under")],
)
def test_a_dry_run_writes_nothing(tmp_path: Path, share: float, state: str) -> None:
    engine = engine_at(tmp_path / "data", publish_time_share=share)
    engine.ingest(land(engine, A), LOG)
    report = export_tables(engine, LOG, dry_run=True)
    assert report.summary.startswith("Would write 3 products and 2 names into products.parquet, ")
    assert f"from {state}" in report.summary
    assert not folder_of(engine).exists()
    assert not engine.published.path.exists()
    export_tables(engine, LOG)
    present = sum((folder_of(engine) / name).stat().st_size for name in FILES)
    assert export_tables(engine, LOG, dry_run=True).figures["present_bytes"] == present


# Exports beside writers


def before_each_file(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    @contextmanager
    def acting(log: logging.Logger, message: Callable[[float], str]) -> Iterator[None]:
        act()
        with heartbeat(log, message):
            yield

    monkeypatch.setattr(export, "heartbeat", acting)


def write_meanwhile(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Merge another delivery before each file; return whether each merge succeeded."""
    merged: list[bool] = []

    def merge_another() -> None:
        row = (f"t{len(merged)}", "Eve", "")
        delivery = land(engine, File("e.csv", 10_000_000 + len(merged), (row,)))
        merged.append(not engine.ingest(delivery, LOG).busy)

    before_each_file(monkeypatch, merge_another)
    return merged


def test_an_export_from_the_copy_lets_others_write_and_has_one_state(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(engine)
    merged = write_meanwhile(engine, monkeypatch)
    export_tables(engine, LOG)
    assert merged == [True] * 4
    assert_exported(folder_of(engine), before)
    assert len(tables(engine)["products"]) == 7


def test_an_export_from_the_database_blocks_writers_and_has_one_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path / "data", publish_time_share=0, writer_wait_seconds=0.05)
    engine.ingest(land(engine, A), LOG)
    before = tables(engine)
    merged = write_meanwhile(engine, monkeypatch)
    export_tables(engine, LOG)
    assert merged == [False] * 4
    assert_exported(folder_of(engine), before)


def test_two_exports_do_not_mix_their_files(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def try_another() -> None:
        with pytest.raises(WarehouseBusyError) as raised:
            export_tables(engine, LOG)
        refused.append(str(raised.value))

    before_each_file(monkeypatch, try_another)
    export_tables(engine, LOG)
    assert len(refused) == 4
    assert "(exporting)" in refused[0]


@pytest.mark.parametrize("good_files", range(4))
def test_a_failed_export_keeps_the_previous_files(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, good_files: int
) -> None:
    export_tables(engine, LOG)
    before = {name: (folder_of(engine) / name).read_bytes() for name in FILES}
    engine.ingest(land(engine, B), LOG)
    remaining = iter(range(good_files))

    def fail() -> None:
        if next(remaining, None) is None:
            raise OSError("No space left on device")

    before_each_file(monkeypatch, fail)
    with pytest.raises(OSError, match="No space"):
        export_tables(engine, LOG)
    assert files_in(folder_of(engine)) == FILES
    assert {name: (folder_of(engine) / name).read_bytes() for name in FILES} == before
    assert query(engine.settings.data_dir, "SELECT count(*) FROM operations") == [(1,)]


EXPORT_SLOWLY = """
import sys, time
from pathlib import Path
from lfp_pipeline.operations import export
from testing.engine import LOG, engine_at
def slowly(*_):
    print("writing", flush=True)
    time.sleep(60)
export.heartbeat = slowly
export.export_tables(engine_at(Path(sys.argv[1])), LOG)
"""


def test_temporary_files_of_a_killed_export_are_removed(engine: Engine) -> None:
    with running(EXPORT_SLOWLY, engine.settings.data_dir):
        assert len(list(folder_of(engine).glob(".*.part"))) == 1
    export_tables(engine, LOG)
    assert files_in(folder_of(engine)) == FILES
    assert_exported(folder_of(engine), tables(engine))


def test_the_job_exports_and_shows_the_figures(project: Project) -> None:
    project.drop(A)
    assert project.run("ingest_inbox").success
    run = project.run("export_tables")
    assert run.success
    (output,) = [event for event in run.all_events if event.is_successful_output]
    assert output.event_specific_data.metadata["products"].value == 3
    assert files_in(project.data / "exports") == FILES
    config = {"ops": {"export": {"config": {"formats": ["xlsx"]}}}}
    assert "Set one or more" in project.error(project.run("export_tables", config=config))


def test_a_database_has_all_tables_and_older_versions_of_duckdb_can_read_it(engine: Engine):
    engine.ingest(land(engine, B), LOG)
    report = export_tables(engine, LOG, formats=["duckdb"])
    assert files_in(folder_of(engine)) == ["products.duckdb"]
    path = folder_of(engine) / "products.duckdb"
    assert f"products.duckdb ({format_size(path.stat().st_size)})" in report.summary
    with duckdb.connect(str(path), read_only=True) as copy:
        names = {name for (name,) in copy.execute("SHOW TABLES").fetchall()}
        copied = {name: sorted(copy.execute(f"FROM {name}").fetchall()) for name in names}
        (version,) = copy.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases()"
        ).fetchall()[0]
    with engine.warehouse.session("a test", LOG) as connection:
        expected = {
            name: sorted(connection.execute(f"FROM warehouse.{name}").fetchall())
            for name in tables_in_use(connection) - {"product_rows"} | {"products"}
        }
    assert copied | {"operations": expected["operations"]} == expected  # It records this export.
    assert "1.5" in version
    export_tables(engine, LOG, formats=["duckdb"])
    assert files_in(folder_of(engine)) == ["products.duckdb"]
