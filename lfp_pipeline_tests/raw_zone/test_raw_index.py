"""The raw index: it agrees with the raw zone after every change and damage of either."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone import index_database, index_scan, pending
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.inbox import InboxFile, list_inbox
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG
from testing.processes import finish, running, start
from testing.raw_marks import (
    clear_reverted,
    delete_status_note,
    mark_reverted,
    prune,
    write_status_note,
)

KEYS = [f"f{number}.csv" for number in range(5)]


@pytest.fixture(autouse=True)
def stable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make recent changes count as stable; else deliveries would be read again for two seconds."""
    monkeypatch.setattr(index_scan, "_STABLE_NS", -1)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number, key in enumerate(KEYS):
        (inbox / key).write_text(f"name,sku,description\nn,s{number},\n")
        os.utime(inbox / key, (number, number))
    return inbox


@pytest.fixture
def zone(tmp_path: Path, inbox: Path) -> RawZone:
    """A raw zone with five merged files of the inbox, which are indexed."""
    zone = RawZone(tmp_path / "raw")
    for key in KEYS:
        write_status_note(land(zone, inbox, key).path, "merged", "db")
    assert noted_statuses(zone, inbox) == ["merged"] * 5
    return zone


def land(zone: RawZone, inbox: Path, key: str) -> Delivery:
    return zone.land(LocalFile(inbox / key), key, LOG)


def versions(inbox: Path) -> tuple[InboxFile, ...]:
    return list_inbox(inbox, stable_seconds=0).ready


def noted_statuses(zone: RawZone, inbox: Path) -> list[str | None]:
    landed = pending.reconciled(zone, versions(inbox), "db")
    return [entry and entry.noted_status for entry in landed]


def pending_deliveries(zone: RawZone) -> list[str]:
    deliveries = pending.pending_deliveries(zone, "db", LOG)
    return [delivery.partition_key for delivery in deliveries]


@contextmanager
def scanned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the partitions whose records are read in the block."""
    read: list[str] = []
    read_columns = index_scan._read_columns  # noqa: SLF001

    def noting(entries: dict[str, os.DirEntry[str]]) -> tuple[object, ...]:
        read.append(Path(entries["json"].path).parent.name)
        return read_columns(entries)

    with monkeypatch.context() as patched:
        patched.setattr(index_scan, "_read_columns", noting)
        yield read


def test_only_changed_deliveries_are_read_again(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scanned(monkeypatch) as read:
        noted_statuses(zone, inbox)
        pending_deliveries(zone)
        zone.index.disk_bytes()
        assert read == []
        (inbox / "f1.csv").write_text("name,sku,description\n")
        newer = land(zone, inbox, "f1.csv")
        assert pending_deliveries(zone) == ["f1.csv"]
        write_status_note(newer.path, "merged", "db")
        assert pending_deliveries(zone) == []
    assert read == ["f1.csv"] * 2  # The older version beside it was not read.


def test_a_recent_change_is_read_again(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_scan, "_STABLE_NS", 3_600_000_000_000)
    write_status_note(land(zone, inbox, "f1.csv").path, "refused", "db")
    for _ in range(2):
        with scanned(monkeypatch) as read:
            assert noted_statuses(zone, inbox) == [
                "merged",
                "refused",
                "merged",
                "merged",
                "merged",
            ]
        assert read == ["f1.csv"]


def replace_note(raw: Path) -> None:
    """Write another note, which may get the inode of the one before."""
    delete_status_note(raw)
    write_status_note(raw, "refused", "db")


def restore_older_copy(raw: Path) -> None:
    """Restore another note with the earlier times of note and folder, as rsync does."""
    times = raw.parent.stat()
    note = raw.with_suffix(".outcome")
    times_of_note = note.stat()
    copy = raw.parent.with_name("copy")
    copy.write_text("merged another\n")
    copy.replace(note)
    for path, had in ((note, times_of_note), (raw.parent, times)):
        os.utime(path, ns=(had.st_atime_ns, had.st_mtime_ns))


def replace_folder(raw: Path) -> None:
    shutil.copytree(raw.parent, raw.parent.with_name("copy"))
    shutil.rmtree(raw.parent)
    raw.parent.with_name("copy").rename(raw.parent)
    raw.with_suffix(".outcome").unlink()


def truncate(raw: Path) -> None:
    raw.chmod(0o644)
    os.truncate(raw, 3)


def revert_and_reinstate(raw: Path) -> None:
    mark_reverted(raw)
    write_status_note(raw, "reverted", "db")
    clear_reverted(raw)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (Path.unlink, None),
        (lambda raw: raw.with_suffix(".outcome").unlink(), None),
        (lambda raw: raw.with_suffix(".json").unlink(), None),
        (lambda raw: shutil.rmtree(raw.parent), None),
        (lambda raw: raw.parent.rename(raw.parent.with_name("away")), None),
        (lambda raw: prune(raw, needed=False), "merged"),
        (lambda raw: write_status_note(raw, "merged", "another"), None),
        (mark_reverted, None),
        (replace_note, "refused"),
        (restore_older_copy, None),
        (replace_folder, None),
        (truncate, None),
        (revert_and_reinstate, None),
    ],
)
def test_every_change_of_the_raw_zone_is_noticed(
    zone: RawZone, inbox: Path, change: Callable[[Path], object], status: str | None
) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    change(delivery.path)
    assert noted_statuses(zone, inbox) == ["merged", "merged", status, "merged", "merged"]
    rebuilt = RawZone(zone.root)
    rebuilt.index.path.unlink()
    assert noted_statuses(rebuilt, inbox) == noted_statuses(zone, inbox)
    assert pending_deliveries(rebuilt) == pending_deliveries(zone)
    assert zone.index.differences() == []


def test_a_version_is_found_by_the_time_that_its_source_stated(zone: RawZone, inbox: Path) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    record = delivery.path.with_suffix(".json")
    assert noted_statuses(zone, inbox)[2] == "merged"
    os.utime(inbox / "f2.csv", (978_307_200, 978_307_200))
    assert noted_statuses(zone, inbox).count(None) == 1
    stated = json.loads(record.read_bytes()) | {
        "stated_at": "2001-01-01T00:00:00.000000",
        "source_ctime_ns": (inbox / "f2.csv").stat().st_ctime_ns,
    }
    another = record.with_name("another")
    another.write_text(json.dumps(stated))
    another.replace(record)
    assert noted_statuses(zone, inbox) == ["merged"] * 5


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * 40_000)


def execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute(sql)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS: dict[str, Callable[[Path], object]] = {
    "whole": Path.exists,
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_bytes(b"no index" * 1_000),
    "damaged": damage,
    "another version": lambda path: execute(path, "PRAGMA user_version = 99"),
    "no table": lambda path: execute(path, "DROP TABLE folders"),
    "a folder": replace_by_a_folder,
}


@pytest.mark.parametrize("break_it", BREAKS.values(), ids=BREAKS.keys())
def test_a_damaged_or_missing_index_is_rebuilt(
    zone: RawZone, inbox: Path, break_it: Callable[[Path], object]
) -> None:
    delete_status_note(zone.deliveries("f3.csv")[0].path)
    break_it(zone.index.path)
    assert noted_statuses(zone, inbox) == ["merged", "merged", "merged", None, "merged"]
    assert pending_deliveries(zone) == ["f3.csv"]
    assert pending.has_pending(zone, "f3.csv", "db")
    assert zone.index.differences() == []
    if zone.index.path.is_file():
        with closing(sqlite3.connect(zone.index.path)) as index:
            assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert index.execute("SELECT count(*) FROM deliveries").fetchone() == (5,)


WITHOUT_WRITE_PERMISSION = """
import logging, os, sys
from pathlib import Path
from lfp_pipeline.raw_zone import pending
from lfp_pipeline.raw_zone.raw_zone import RawZone
if os.getuid() == 0:  # Root may write everything.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
logging.basicConfig(stream=sys.stdout, format="LOGGED %(message)s")
for _ in range(3):
    zone = RawZone(Path(sys.argv[1]))
    found = pending.pending_deliveries(zone, "db", logging.getLogger())
    print(len(found), zone.index.problem)
"""


def test_an_unwritable_index_is_logged_once(zone: RawZone) -> None:
    with TemporaryDirectory() as folder:  # Every user can enter it.
        Path(folder).chmod(0o755)
        root = Path(folder) / "raw"
        shutil.copytree(zone.root, root)
        (output,) = finish([start(WITHOUT_WRITE_PERMISSION, root)])
    logged, *printed = output.splitlines()
    problem = logged.removeprefix("LOGGED ")
    assert problem.startswith(f"{root}.index cannot be written, so every query of the raw zone")
    assert f"write that file and the folder {folder}" in problem
    assert printed == [f"0 {problem}"] * 3


def test_a_folder_in_place_of_the_index_is_reported_until_it_is_gone(
    zone: RawZone, caplog: pytest.LogCaptureFixture
) -> None:
    replace_by_a_folder(zone.index.path)
    assert pending_deliveries(zone) == []
    assert zone.index.problem
    assert zone.index.problem.endswith("A folder is in its place: remove it.")
    pending_deliveries(zone)
    assert [entry.message for entry in caplog.records] == [zone.index.problem]
    zone.index.path.rmdir()
    assert pending_deliveries(zone) == []
    assert zone.index.problem is None


def test_queries_work_while_the_index_is_locked(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_database, "_LOCKED_SECONDS", 0.05)
    delete_status_note(zone.deliveries("f3.csv")[0].path)
    with closing(sqlite3.connect(zone.index.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert pending_deliveries(zone) == ["f3.csv"]
        assert noted_statuses(zone, inbox) == ["merged", "merged", "merged", None, "merged"]
    assert pending_deliveries(zone) == ["f3.csv"]
    assert zone.index.problem is None  # A lock passes.


def test_a_snapshot_does_not_see_later_changes(zone: RawZone) -> None:
    with zone.index.snapshot():
        delete_status_note(zone.deliveries("f3.csv")[0].path)
        assert pending_deliveries(zone) == []
    assert pending_deliveries(zone) == ["f3.csv"]


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_snapshot_without_its_index_sees_later_changes(zone: RawZone, when: str) -> None:
    if when == "within":
        with zone.index.snapshot():
            zone.index.path.unlink()
            delete_status_note(zone.deliveries("f3.csv")[0].path)
            assert pending_deliveries(zone) == ["f3.csv"]
    else:
        assert pending_deliveries(zone) == []
        delete_status_note(zone.deliveries("f3.csv")[0].path)
        replace_by_a_folder(zone.index.path)
        with zone.index.snapshot():
            assert pending_deliveries(zone) == ["f3.csv"]


def test_a_missing_raw_zone_is_empty_and_is_not_created(tmp_path: Path) -> None:
    zone = RawZone(tmp_path / "none" / "raw")
    assert pending_deliveries(zone) == []
    assert zone.index.disk_bytes() == 0
    assert list(tmp_path.iterdir()) == []


WAITING_IN_A_SCAN = """
import sys
from pathlib import Path
from lfp_pipeline.raw_zone import index_scan
from lfp_pipeline.raw_zone.raw_zone import RawZone

scan = index_scan._scan
def scanning(index, root, key, started_ns):
    scan(index, root, key, started_ns)
    if key == "f3.csv":
        print("scanned", flush=True)
        sys.stdin.read()
index_scan._scan = scanning
RawZone(Path(sys.argv[1])).index.disk_bytes()
"""


def test_a_kill_during_a_scan_leaves_the_index_unchanged(zone: RawZone) -> None:
    for key in ("f2.csv", "f3.csv"):
        delete_status_note(zone.deliveries(key)[0].path)
    with running(WAITING_IN_A_SCAN, zone.root):
        pass
    assert pending_deliveries(zone) == ["f2.csv", "f3.csv"]
    assert zone.index.differences() == []


LANDING_AND_QUERYING = """
import logging
import sys
from pathlib import Path
from lfp_pipeline.raw_zone import pending
from testing.raw_marks import delete_status_note, write_status_note
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.local_file import LocalFile

root, inbox, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
zone, log = RawZone(root), logging.getLogger()
for number in range(40):
    file = inbox / f"{name}{number % 4}"
    file.write_text(f"{number}")
    delivery = zone.land(LocalFile(file), file.name, log)
    assert delivery in pending.pending_deliveries(zone, "db", log)
    write_status_note(delivery.path, "merged", "db")
    assert delivery not in pending.pending_deliveries(zone, "db", log)
    if number % 3 == 0:
        delete_status_note(delivery.path)
        assert pending.has_pending(zone, file.name, "db")
"""


def test_several_processes_use_the_index_at_once(zone: RawZone, inbox: Path) -> None:
    finish([start(LANDING_AND_QUERYING, zone.root, inbox, name) for name in ("a", "b", "c")])
    assert len(pending_deliveries(zone)) == 3 * 14
    assert zone.index.differences() == []


def test_a_wrong_entry_is_found(zone: RawZone) -> None:
    with closing(sqlite3.connect(zone.index.path)) as index, index:
        index.execute("UPDATE deliveries SET ended = 'refused' WHERE key = 'f2.csv'")
    (delivery,) = zone.deliveries("f2.csv")
    assert zone.index.differences() == [delivery.delivery_id]
    zone.index.path.unlink()
    assert zone.index.differences() == []


def test_a_backup_by_hard_links_makes_no_entry_wrong(zone: RawZone, inbox: Path) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    prune(delivery.path, needed=False)
    assert noted_statuses(zone, inbox) == ["merged"] * 5
    backup = zone.root.with_name("backup")
    shutil.copytree(zone.root, backup, copy_function=os.link)
    assert zone.index.differences() == []
    assert noted_statuses(zone, inbox) == ["merged"] * 5
    (inbox / "f2.csv").rename(inbox / "aside")
    (inbox / "aside").rename(inbox / "f2.csv")
    noted = delivery.path.with_suffix(".pruned").stat().st_ctime_ns
    assert (inbox / "f2.csv").stat().st_ctime_ns >= noted
    assert noted_statuses(zone, inbox)[2] is None  # It counts as dropped again.


def test_files_of_other_times_and_sizes_are_other_versions(zone: RawZone, inbox: Path) -> None:
    (file, *_) = versions(inbox)
    others = [
        file._replace(size_bytes=file.size_bytes + 1),
        file._replace(mtime_ns=file.mtime_ns + 1_000),
        file._replace(name="other.csv"),
        file._replace(mtime_ns=10**21),
        file._replace(mtime_ns=-(10**21)),
    ]
    found, *not_found = zone.index.landed([file, *others])
    assert found is not None
    assert found.noted_status == "merged"
    assert not_found == [None] * len(others)


def test_many_files_are_found_as_single_files_are(zone: RawZone, inbox: Path) -> None:
    older = versions(inbox)
    (inbox / "f1.csv").write_text("name,sku,description\n")
    write_status_note(land(zone, inbox, "f1.csv").path, "refused", "db")
    mark_reverted(zone.deliveries("f2.csv")[0].path)
    (inbox / "f3.csv").write_text("name,sku,description\nm,s3,\n")  # Of the same size and time.
    os.utime(inbox / "f3.csv", (3, 3))
    write_status_note(land(zone, inbox, "f3.csv").path, "merged", "db")
    zone.deliveries("f4.csv")[0].path.with_suffix(".json").unlink()
    files = [*older, *versions(inbox)]
    others = [files[0]._replace(name=f"other{number}.csv") for number in range(1_000)]
    single = [RawZone(zone.root).index.landed([file])[0] for file in files]
    assert RawZone(zone.root).index.landed([*files, *others]) == [*single, *[None] * len(others)]
    assert [landed and landed.noted_status for landed in single] == [
        *("merged", "merged", None, None, None),
        *("merged", None, "merged", None, "refused"),  # The oldest file first.
    ]
