"""The status of a data folder, collected without blocking writers."""

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.operations.export_rejects import export_rejects
from lfp_pipeline.operations.find_delivery import find_delivery
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.status import StatusReport, collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.reading.text_reader import SkippedLines
from lfp_pipeline.sources.inbox import list_inbox
from lfp_pipeline.sources.local_file import LocalFile
from testing.cases import first_fast
from testing.dagster_project import HEADER, NO_SKU, Project, drop, project_in
from testing.engine import LOG, patch_reading
from testing.expected_tables import File
from testing.processes import (
    HOLD_DATABASE,
    HOLD_MARK,
    HOLD_OPEN,
    HOLD_WRITER_LOCK,
    WAIT_FOR_WRITER_LOCK,
    running,
    until,
)

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y"), ("s1", "Ann", "z")))
B = File("b.csv", 2_000_000, (("s1", "Ann", "z"), ("s3", "Ann", "w")))


def status_of(project: Project) -> tuple[StatusReport, str]:
    state = collect_status(project.engine)
    return state, render_status(state)


def ingest(project: Project) -> None:
    """Ingest the inbox as ingest_inbox does."""
    engine = project.engine
    files = engine.pending_inbox(LOG).ready
    list(engine.ingest_all(files, engine.pending_deliveries(LOG, offered=files), LOG))
    engine.publish(LOG)


PUBLISH = "    `lfp publish` publishes them now. While `lfp dev` runs, it does so by itself."

INGEST = "    `lfp ingest` ingests them now. While `lfp dev` runs, it ingests them by itself."


def label(delivery: Delivery | File) -> str:
    """Return the short name of a delivery of a plain file name."""
    return delivery.delivery_id.partition(".0")[0].removesuffix(".")


def section(text: str, title: str) -> list[str]:
    """Return the lines below a title."""
    found = re.search(rf"^{title}\n((?:  .*\n?)+)", text, re.MULTILINE)
    return [line[2:] for line in found[1].splitlines()] if found else []


def test_an_empty_data_folder_has_an_empty_status(project: Project) -> None:
    state, text = status_of(project)
    assert state.tables is None
    assert section(text, "Pending") == ["None."]
    assert section(text, "Running") == ["None."]
    assert section(text, "Tables") == ["None: no file has been merged."]
    assert "Needs attention" not in text
    assert "Problems" not in text
    assert not (project.data / "products.duckdb").exists()


def test_pending_files_are_named(project: Project) -> None:
    project.drop(A)
    project.drop(B)
    state, text = status_of(project)
    assert section(text, "Pending") == [
        "2 in the inbox, not merged: a.csv (0.1 KB), b.csv (0.0 KB)",
        INGEST,
    ]
    of_hosts = render_status(replace(state, ui_command="lfp cluster head"))
    assert section(of_hosts, "Pending")[-1] == INGEST.replace("lfp dev", "lfp cluster head")
    ingest(project)
    _, text = status_of(project)
    assert section(text, "Pending") == ["None."]


def test_a_landed_file_is_pending_once(project: Project) -> None:
    project.drop(A)
    (file,) = list_inbox(project.inbox, stable_seconds=0).ready
    delivery = project.engine.land(LocalFile(file.path), file.partition_key, LOG)
    state, _ = status_of(project)
    assert [file.name for file in state.pending] == [A.key]
    assert state.pending_deliveries == []
    file.path.unlink()
    _, text = status_of(project)
    assert section(text, "Pending") == [f"1 landed, not merged: {label(delivery)}", INGEST]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports writers")
def test_files_open_for_writing_are_still_being_written(project: Project) -> None:
    project.drop(A)
    project.drop(B)
    with running(HOLD_OPEN, project.inbox / A.key, "ab"):
        _, text = status_of(project)
    assert section(text, "Pending") == [
        "1 in the inbox, not merged: b.csv (0.0 KB)",
        "1 in the inbox, still being written: a.csv",
        INGEST,
    ]


def test_skipped_and_ignored_inbox_entries_are_listed_with_advice(project: Project) -> None:
    assert "Left out of the inbox" not in status_of(project)[1]
    for name in ("x.csv", "y.csv"):
        (project.inbox / name).symlink_to(project.data)
    os.mkfifo(project.inbox / "pi\npe")
    (project.inbox / "a.csv.md5").write_bytes(b"abc")
    (project.inbox / "x\x1b.tmp").mkdir()
    _, text = status_of(project)
    pipes, links, to_do, ignored, other_name = section(text, "Left out of the inbox")
    assert pipes == r"1 skipped (a pipe): pi\npe"
    assert links == "2 skipped (a link): x.csv, y.csv"
    assert to_do.startswith("    Replace links by files, since links are not followed;")
    assert ignored == r"2 ignored by name: x\x1b.tmp/, a.csv.md5"
    assert "To ingest one, rename it." in other_name


def test_many_names_are_counted(project: Project) -> None:
    for number in range(8):
        drop(project.inbox, f"f{number}.csv", HEADER)
    _, text = status_of(project)
    line, _ = section(text, "Pending")
    assert line.startswith("8 in the inbox")
    assert line.endswith("and 3 more")


def test_runs_the_writer_and_waiting_processes_are_listed(project: Project) -> None:
    mark = project.engine.settings.run_marks_dir / "0123456789.run"
    database = project.data / "products.duckdb"
    with running(HOLD_MARK, mark), running(HOLD_WRITER_LOCK, database) as writer:
        mark.write_text("ingest_products a.csv")
        with running(WAIT_FOR_WRITER_LOCK, database) as waiter:
            until(lambda: collect_status(project.engine).waiting)
            _, text = status_of(project)
    run, writing, waiting = section(text, "Running")
    assert re.fullmatch(r"run 01234567 \(ingest_products a.csv\) for \d+ s", run)
    assert re.fullmatch(rf"writing: process {writer.pid} \(merging a.csv\) for \d+ s", writing)
    expected = rf"waiting for the writer lock: process {waiter.pid} \(merging b.csv\) for \d+ s"
    assert re.fullmatch(expected, waiting)
    _, text = status_of(project)
    assert section(text, "Running") == ["None."]  # The processes are dead; their marks remain.


def test_the_status_job_shows_itself_as_running(project: Project) -> None:
    run = project.run("status")
    assert run.success
    (text,) = [
        entry.user_message
        for entry in project.instance.all_logs(run.run_id)
        if "Pending" in entry.user_message
    ]
    assert section(text, "Running") == [f"run {run.run_id[:8]} (status) for 0 s"]
    (shown,) = [
        event.step_output_data.metadata["status"].value
        for event in run.all_events
        if event.is_successful_output
    ]
    assert shown == text.splitlines()


def test_a_refused_delivery_needs_attention_until_its_file_is_fixed(project: Project) -> None:
    drop(project.inbox, A.key, NO_SKU, microseconds=1)
    drop(project.inbox, "bad.csv", NO_SKU)
    project.drop(B)
    ingest(project)
    _, text = status_of(project)
    entries = section(text, "Needs attention")
    assert len(entries) == 6
    assert entries[0].startswith("a.csv#19700101T000000 was refused: The header has no ")
    assert entries[1].startswith("    Fix the file and drop it again.")
    assert entries[2] == "        lfp dismiss 'a.csv#19700101T000000'"
    assert entries[3].startswith("bad.csv#")
    project.drop(A)
    ingest(project)
    project.engine.published.publish(LOG)
    _, text = status_of(project)
    assert [line.partition("#")[0] for line in section(text, "Needs attention")[::3]] == ["bad.csv"]


def test_a_refused_delivery_needs_attention_until_it_is_reverted(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    ingest(project)
    state, text = status_of(project)
    (named,) = re.findall("lfp dismiss '(.*)'", section(text, "Needs attention")[2])
    delivery = find_delivery(project.engine, named)
    assert state.tables
    assert [row["delivery_id"] for row in state.tables.needs_attention] == [delivery.delivery_id]
    config = {"ops": {"revert": {"config": {"delivery_id": delivery.delivery_id}}}}
    assert project.run("revert_delivery", config=config).success
    assert "Needs attention" not in status_of(project)[1]


def test_a_refused_delivery_shows_the_name_of_its_file(project: Project) -> None:
    drop(project.inbox, "<b>x</b> 1.csv".replace("/", "_"), NO_SKU)
    ingest(project)
    entry, *_ = section(status_of(project)[1], "Needs attention")
    assert entry.startswith("<b>x<_b> 1.csv#19700101T000001 was refused")


def test_the_last_deliveries_show_their_row_counts(project: Project) -> None:
    project.drop(A)
    ingest(project)
    project.drop(B)
    ingest(project)
    drop(project.inbox, "bad.csv", NO_SKU)
    ingest(project)
    project.engine.published.publish(LOG)
    state, text = status_of(project)
    bad, second, first = section(text, "Last deliveries")
    assert re.fullmatch(r"bad\.csv#\S+  refused: see above", bad)
    rate = r" in [\d.]+ s"
    counts = r"a\.csv#\S+    merged .{16}, 3 rows \(2 inserted, 1 superseded\)"
    assert re.fullmatch(counts + rate, first)
    assert re.search(r" 2 rows \(1 inserted, 1 unchanged\)" + rate, second)
    assert state.tables
    assert state.tables.sizes == {"products": 3, "names": 2, "deliveries": 3, "rejected_rows": 0}


def test_the_last_deliveries_show_their_notes_a_line_each(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop(A)
    ingest(project)
    with monkeypatch.context() as context:
        hostile = "A column is called '\x1b[2J\n```\u202e'."
        patch_reading(context, SkippedLines(), "The header is in line 4.", hostile, "x" * 500)
        project.drop(B)
        ingest(project)
    project.engine.published.publish(LOG)
    _, text = status_of(project)
    second, *notes, first = section(text, "Last deliveries")
    assert second.startswith(label(B))
    assert first.startswith(label(A))
    assert notes == [
        "    The header is in line 4.",
        "    A column is called '\\x1b[2J\\n```\\u202e'.",
        f"    {'x' * 199}…",
    ]


def test_a_refused_file_shows_its_notes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_reading(monkeypatch, SkippedLines(), "The header is in line 4.")
    drop(project.inbox, "dirty.csv", HEADER + "s1,Ann,\n,Bob,\n")
    ingest(project)
    project.engine.published.publish(LOG)
    refused, note = section(status_of(project)[1], "Last deliveries")
    assert refused.endswith("refused: see above")
    assert note == "    The header is in line 4."


@pytest.mark.parametrize(("number", "others"), [(5, None), (6, "1 more note"), (7, "2 more notes")])
def test_the_first_five_notes_are_shown_and_the_others_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch, number: int, others: str | None
) -> None:
    patch_reading(monkeypatch, SkippedLines(), *(f"Note {index}." for index in range(number)))
    project.drop(A)
    ingest(project)
    _, *notes = section(status_of(project)[1], "Last deliveries")
    assert notes[:5] == [f"    Note {index}." for index in range(5)]
    assert notes[5:] == ([f"    {others} in the table deliveries."] if others else [])


def test_edited_notes_are_made_printable(project: Project) -> None:
    project.drop(A)
    ingest(project)
    with duckdb.connect(project.data / "products.duckdb") as by_hand:
        by_hand.execute("UPDATE deliveries SET notes = 'a' || chr(27) || '[2J' || chr(10) || 'b'")
    (project.data / "published" / "products.duckdb").unlink()
    _, *notes = section(status_of(project)[1], "Last deliveries")
    assert notes == ["    a\\x1b[2J", "    b"]


def test_only_the_last_ten_deliveries_are_shown(project: Project) -> None:
    for number in range(12):
        drop(project.inbox, f"f{number:02}.csv", HEADER + f"s{number},Ann,\n", number * 1_000_000)
    ingest(project)
    state, _ = status_of(project)
    assert state.tables
    assert [row["partition_key"] for row in state.tables.latest] == [
        f"f{number:02}.csv" for number in range(11, 1, -1)
    ]


def test_deliveries_pruned_before_a_rebuild_are_not_the_last(project: Project) -> None:
    newer = File(A.key, A.microseconds + 1, A.rows)
    for file in (A, newer, B):
        project.drop(file)
        ingest(project)
    prune_raw(project.engine, 0, LOG)
    rebuild_products(project.engine, LOG)
    drop(project.inbox, "bad.csv", NO_SKU)
    ingest(project)
    project.engine.published.publish(LOG)
    state, _ = status_of(project)
    assert state.tables
    assert [row["delivery_id"].partition("#")[0] for row in state.tables.latest] == [
        "bad.csv",
        B.key,
        A.key,
        A.key,
    ]
    assert state.tables.latest[-1]["delivery_id"] == A.delivery_id


def test_the_tables_are_read_from_the_published_copy(project: Project) -> None:
    project.drop(A)
    ingest(project)
    published_at = project.engine.published.last.copied_at
    state, text = status_of(project)
    assert state.tables
    assert state.tables.as_of == published_at
    assert abs(time.time() - published_at) < 60
    assert section(text, "Tables")[-1].endswith("from the published copy.")
    assert "Not published" not in text
    (project.engine.ingest(project.engine.land(copy_of(project, B), B.key, LOG), LOG))
    _, text = status_of(project)
    assert section(text, "Not published yet") == [f"1 merged: {label(B)}", PUBLISH]
    assert section(text, "Tables")[-1].endswith("from the published copy; changed since.")
    project.engine.published.publish(LOG)
    with duckdb.connect(project.data / "products.duckdb") as connection:
        connection.execute("UPDATE product_rows SET name = upper(name)")
    _, text = status_of(project)
    assert "Not published" not in text
    advice = "changed since: `lfp publish` publishes the changes now."
    assert section(text, "Tables")[-1].endswith(f"from the published copy; {advice}")


def copy_of(project: Project, file: File) -> LocalFile:
    path = project.data / "elsewhere.csv"
    path.write_bytes(file.content)
    os.utime(path, ns=(file.microseconds * 1000,) * 2)
    return LocalFile(path)


@pytest.fixture
def unpublished(tmp_path: Path, home: Path) -> Iterator[Project]:
    with project_in(tmp_path, home, publish_time_share=0) as project:
        project.drop(A)
        ingest(project)
        yield project


def test_the_database_is_read_if_nothing_is_published(unpublished: Project) -> None:
    state, text = status_of(unpublished)
    assert state.tables
    assert state.tables.sizes["products"] == 2
    assert "from the database" in section(text, "Tables")[-1]
    with duckdb.connect(unpublished.data / "products.duckdb"):  # The database is closed again.
        pass


def test_the_status_does_not_wait_for_a_writer(unpublished: Project) -> None:
    with running(HOLD_DATABASE, unpublished.data / "products.duckdb"):
        started = time.monotonic()
        state, text = status_of(unpublished)
        assert time.monotonic() - started < 5
    assert state.tables is None
    assert state.tables_are_busy
    assert section(text, "Tables") == [
        "A process writes them, and no copy is published. `lfp publish` makes one."
    ]
    assert not state.problems


@pytest.mark.parametrize("content", first_fast([b"", b"no database" * 1_000]))
def test_a_damaged_database_is_reported_though_its_copy_is_whole(
    project: Project, content: bytes
) -> None:
    project.drop(A)
    ingest(project)
    database = project.data / "products.duckdb"
    assert section(status_of(project)[1], "Problems") == []
    database.write_bytes(content)
    state, text = status_of(project)
    assert section(text, "Problems") == [f"{database} is no database. Run `lfp rebuild`."]
    assert state.tables


def test_the_status_is_complete_while_a_writer_is_active(project: Project) -> None:
    project.drop(A)
    ingest(project)
    with running(HOLD_DATABASE, project.data / "products.duckdb"):
        state, _ = status_of(project)
    assert state.tables
    assert state.tables.sizes["products"] == 2


def test_a_raw_index_that_cannot_be_written_is_reported(project: Project) -> None:
    index = project.engine.raw_zone.index.path
    project.drop(A)
    ingest(project)
    index.unlink(missing_ok=True)
    index.mkdir()
    (problem,) = section(status_of(project)[1], "Problems")
    assert problem.startswith(f"{index} cannot be written")
    assert problem.endswith("A folder is in its place: remove it.")


def test_disk_usage_is_shown(project: Project) -> None:
    project.drop(A)
    ingest(project)
    state, text = status_of(project)
    files = [project.data / f"products.duckdb{suffix}" for suffix in ("", ".wal")]
    assert state.disk["database"] == sum(file.stat().st_size for file in files)
    assert state.disk["published copy"] == project.engine.published.path.stat().st_size
    assert state.disk["raw zone"] >= len(A.content)
    assert state.free_bytes > 0
    assert section(text, "Disk")[-1].endswith(" MB  free")


def test_an_unreadable_inbox_is_reported_beside_the_rest(project: Project) -> None:
    project.inbox.rmdir()
    _, text = status_of(project)
    (problem,) = section(text, "Problems")
    assert "cannot be read: No such file or directory" in problem


def test_feeds_with_errors_are_listed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources: [{name: shop, location: 'http://127.0.0.1:9/x', interval: 60}]")
    monkeypatch.setenv("LFP_SOURCES_FILE", str(sources))
    with project_in(tmp_path / "other", project.home, sources_file=sources) as other:
        (feed,) = other.engine.catalog.feeds()[0]
        feed.poll()
        _, text = status_of(other)
    line, advice = section(text, "Feeds with errors")
    assert "`lfp ingest NAME` fetches it now" in advice
    assert line.startswith("shop: ")
    assert "LFP_ALLOWED_HOSTS" in line


def test_unprintable_names_are_escaped(project: Project) -> None:
    drop(project.inbox, os.fsdecode(b"b\xe9.csv"), HEADER)
    drop(project.inbox, "\x1b[2Jé\n.csv", HEADER, 2_000_000)
    _, text = status_of(project)
    assert "in the inbox, not merged: b\\udce9.csv" in text
    assert "\\x1b[2Jé\\n.csv" in text
    text.encode()


def test_a_refused_and_pruned_delivery_shows_advice(project: Project) -> None:
    drop(project.inbox, "bad.csv", NO_SKU)
    ingest(project)
    prune_raw(project.engine, 0, LOG)
    _, text = status_of(project)
    assert "Fix the file and drop it again." in text
    assert "lfp dismiss 'bad.csv#" in text


def test_rejects_of_replaced_versions_are_told_from_those_to_fix(project: Project) -> None:
    reject = ("", "Bob", "y")
    rows = tuple((f"s{number}", "Ann", "x") for number in range(20))
    project.drop(File("a.csv", 1_000_000, (*rows, reject)))
    ingest(project)
    project.drop(File("a.csv", 2_000_000, (*rows, reject, reject)))
    ingest(project)
    project.engine.published.publish(LOG)
    state, text = status_of(project)
    assert state.tables
    assert (state.tables.sizes["rejected_rows"], state.tables.rejects_to_fix) == (3, 2)
    assert sum(file.rows for file in export_rejects(project.engine, LOG)) == 2
    (line,) = [line for line in section(text, "Tables") if "rejected rows" in line]
    assert line.strip() == (
        "3  rejected rows, 2 of them to fix: `lfp rejects` writes them as CSV files"
    )
