"""The raw index: it tells what the raw zone does, whatever becomes of either."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lfp_pipeline.landing import raw_index
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.inbox import InboxFile, list_inbox
from lfp_pipeline.landing.intents import prune, want_reinstated, want_reverted
from lfp_pipeline.landing.outcomes import forget_outcome, note_outcome
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.landing.sources import LocalFile
from lfp_pipeline_tests.oracle import LOG
from lfp_pipeline_tests.processes import finish, running, start

KEYS = [f"f{number}.csv" for number in range(5)]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, what has just changed counts as settled: else nothing would be kept for two seconds."""
    monkeypatch.setattr(raw_index, "_SETTLED_NS", -1)


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
    """With five files of the inbox, merged, that were asked for."""
    zone = RawZone(tmp_path / "raw")
    for key in KEYS:
        note_outcome(land(zone, inbox, key).path, "merged", "db")
    assert outcomes(zone, inbox) == ["merged"] * 5
    return zone


def land(zone: RawZone, inbox: Path, key: str) -> Delivery:
    return zone.land(LocalFile(inbox / key), key, LOG)


def versions(inbox: Path) -> tuple[InboxFile, ...]:
    return list_inbox(inbox, quiet_seconds=0).ready


def outcomes(zone: RawZone, inbox: Path) -> list[str | None]:
    return [one and one.ended for one in zone.ended(versions(inbox), "db")]


def unended(zone: RawZone) -> list[str]:
    return [one.partition_key for one in zone.unended("db", LOG)]


@contextmanager
def scanned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The records that are read in the block."""
    read: list[str] = []
    told = raw_index._told  # noqa: SLF001

    def telling(entries: dict[str, os.DirEntry[str]]) -> tuple[object, ...]:
        read.append(Path(entries["json"].path).parent.name)
        return told(entries)

    with monkeypatch.context() as patched:
        patched.setattr(raw_index, "_told", telling)
        yield read


def test_only_what_has_changed_is_read_again(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scanned(monkeypatch) as read:
        outcomes(zone, inbox)
        unended(zone)
        zone.index.disk_bytes()
        assert read == []
        (inbox / "f1.csv").write_text("name,sku,description\n")
        newer = land(zone, inbox, "f1.csv")
        assert unended(zone) == ["f1.csv"]
        note_outcome(newer.path, "merged", "db")
        assert unended(zone) == []
    assert read == ["f1.csv"] * 2  # And not the older version beside it.


def test_what_has_changed_a_moment_ago_is_looked_at_again(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_index, "_SETTLED_NS", 3_600_000_000_000)
    note_outcome(land(zone, inbox, "f1.csv").path, "refused", "db")
    for _ in range(2):
        with scanned(monkeypatch) as read:
            assert outcomes(zone, inbox) == ["merged", "refused", "merged", "merged", "merged"]
        assert read == ["f1.csv"]


def forget_and_note(raw: Path) -> None:
    """With the inode that the note had, where the file system gives it again."""
    forget_outcome(raw)
    note_outcome(raw, "refused", "db")


def restore_older_copy(raw: Path) -> None:
    """As rsync does it: with the times of the copy, those of the folder included."""
    times = raw.parent.stat()
    note = raw.with_suffix(".outcome")
    status = note.stat()
    copy = raw.parent.with_name("copy")
    copy.write_text("merged another\n")
    copy.replace(note)
    for path, had in ((note, status), (raw.parent, times)):
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
    want_reverted(raw)
    note_outcome(raw, "reverted", "db")
    want_reinstated(raw)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (Path.unlink, None),
        (lambda raw: raw.with_suffix(".outcome").unlink(), None),
        (lambda raw: raw.with_suffix(".json").unlink(), None),
        (lambda raw: shutil.rmtree(raw.parent), None),
        (lambda raw: raw.parent.rename(raw.parent.with_name("away")), None),
        (lambda raw: prune(raw, needed=False), "merged"),
        (lambda raw: note_outcome(raw, "merged", "another"), None),
        (want_reverted, None),
        (forget_and_note, "refused"),
        (restore_older_copy, None),
        (replace_folder, None),
        (truncate, None),
        (revert_and_reinstate, None),
    ],
)
def test_a_change_by_whomever_is_seen(
    zone: RawZone, inbox: Path, change: Callable[[Path], object], outcome: str | None
) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    change(delivery.path)
    assert outcomes(zone, inbox) == ["merged", "merged", outcome, "merged", "merged"]
    anew = RawZone(zone.root)
    anew.index.path.unlink()
    assert outcomes(anew, inbox) == outcomes(zone, inbox)
    assert unended(anew) == unended(zone)
    assert zone.index.differences() == []


def test_the_time_that_the_source_stated_tells_a_version_where_it_is_another(
    zone: RawZone, inbox: Path
) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    record = delivery.path.with_suffix(".json")
    assert outcomes(zone, inbox)[2] == "merged"
    os.utime(inbox / "f2.csv", (978_307_200, 978_307_200))
    assert outcomes(zone, inbox).count(None) == 1
    stated = json.loads(record.read_bytes()) | {
        "stated_at": "2001-01-01T00:00:00.000000",
        "source_ctime_ns": (inbox / "f2.csv").stat().st_ctime_ns,
    }
    another = record.with_name("another")
    another.write_text(json.dumps(stated))
    another.replace(record)
    assert outcomes(zone, inbox) == ["merged"] * 5


def break_nothing(path: Path) -> None:
    assert path.exists()


def overwrite(path: Path) -> None:
    path.write_bytes(b"no index" * 1_000)


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * 40_000)


def of_another_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute("PRAGMA user_version = 99")


def lose_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute("DROP TABLE folders")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "break_it",
    [
        break_nothing,
        Path.unlink,
        overwrite,
        damage,
        of_another_version,
        lose_a_table,
        a_folder,
        empty,
    ],
)
def test_an_index_that_is_broken_or_gone_is_made_anew(
    zone: RawZone, inbox: Path, break_it: Callable[[Path], object]
) -> None:
    forget_outcome(zone.deliveries("f3.csv")[0].path)
    break_it(zone.index.path)
    assert outcomes(zone, inbox) == ["merged", "merged", "merged", None, "merged"]
    assert unended(zone) == ["f3.csv"]
    assert zone.is_unended("f3.csv", "db")
    assert zone.index.differences() == []
    if zone.index.path.is_file():
        with closing(sqlite3.connect(zone.index.path)) as index:
            assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert index.execute("SELECT count(*) FROM deliveries").fetchone() == (5,)


KEPT_FROM_WRITING = """
import logging, os, sys
from pathlib import Path
from lfp_pipeline.landing.raw_zone import RawZone
if os.getuid() == 0:  # Root may write everything.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
logging.basicConfig(stream=sys.stdout, format="LOGGED %(message)s")
for _ in range(3):
    zone = RawZone(Path(sys.argv[1]))
    print(len(zone.unended("db", logging.getLogger())), zone.index.problem)
"""


def test_where_it_cannot_be_written_the_log_says_so_once(zone: RawZone) -> None:
    with TemporaryDirectory() as folder:  # Which everybody can enter.
        Path(folder).chmod(0o755)
        root = Path(folder) / "raw"
        shutil.copytree(zone.root, root)
        (told,) = finish([start(KEPT_FROM_WRITING, root)])
    logged, *asked = told.splitlines()
    problem = logged.removeprefix("LOGGED ")
    assert problem.startswith(f"{root}.index cannot be written, so every look at the raw zone")
    assert f"write that file and the folder {folder}" in problem
    assert asked == [f"0 {problem}"] * 3


def test_a_folder_in_its_place_is_told_until_it_is_gone(
    zone: RawZone, caplog: pytest.LogCaptureFixture
) -> None:
    a_folder(zone.index.path)
    assert unended(zone) == []
    assert zone.index.problem
    assert zone.index.problem.endswith("A folder is in its place: remove it.")
    unended(zone)
    assert [entry.message for entry in caplog.records] == [zone.index.problem]
    zone.index.path.rmdir()
    assert unended(zone) == []
    assert zone.index.problem is None


def test_an_index_that_is_locked_or_cannot_be_written_is_done_without(
    zone: RawZone, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_index, "_LOCKED_SECONDS", 0.05)
    forget_outcome(zone.deliveries("f3.csv")[0].path)
    with closing(sqlite3.connect(zone.index.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert unended(zone) == ["f3.csv"]
        assert outcomes(zone, inbox) == ["merged", "merged", "merged", None, "merged"]
    assert unended(zone) == ["f3.csv"]
    assert zone.index.problem is None  # It passes.


def test_a_block_is_answered_as_of_its_begin(zone: RawZone) -> None:
    with zone.index.of_one_moment():
        forget_outcome(zone.deliveries("f3.csv")[0].path)
        assert unended(zone) == []
    assert unended(zone) == ["f3.csv"]


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_block_without_its_index_looks_again(zone: RawZone, when: str) -> None:
    if when == "within":
        with zone.index.of_one_moment():
            zone.index.path.unlink()
            forget_outcome(zone.deliveries("f3.csv")[0].path)
            assert unended(zone) == ["f3.csv"]
    else:
        assert unended(zone) == []
        forget_outcome(zone.deliveries("f3.csv")[0].path)
        a_folder(zone.index.path)
        with zone.index.of_one_moment():
            assert unended(zone) == ["f3.csv"]


def test_without_a_raw_zone_there_is_nothing_and_nothing_is_made(tmp_path: Path) -> None:
    zone = RawZone(tmp_path / "none" / "raw")
    assert unended(zone) == []
    assert zone.index.disk_bytes() == 0
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from lfp_pipeline.landing import raw_index
from lfp_pipeline.landing.raw_zone import RawZone

scan = raw_index._scan
def scanning(index, root, key, started_ns):
    scan(index, root, key, started_ns)
    if key == "f3.csv":
        print("scanned", flush=True)
        sys.stdin.read()
raw_index._scan = scanning
RawZone(Path(sys.argv[1])).index.disk_bytes()
"""


def test_who_is_killed_while_he_brings_it_up_to_date_leaves_it_as_it_was(
    zone: RawZone,
) -> None:
    for key in ("f2.csv", "f3.csv"):
        forget_outcome(zone.deliveries(key)[0].path)
    with running(KILLED, zone.root):
        pass
    assert unended(zone) == ["f2.csv", "f3.csv"]
    assert zone.index.differences() == []


WORKING = """
import logging
import sys
from pathlib import Path
from lfp_pipeline.landing.outcomes import forget_outcome, note_outcome
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.landing.sources import LocalFile

root, inbox, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
zone, log = RawZone(root), logging.getLogger()
for number in range(40):
    file = inbox / f"{name}{number % 4}"
    file.write_text(f"{number}")
    delivery = zone.land(LocalFile(file), file.name, log)
    assert delivery in zone.unended("db", log)
    note_outcome(delivery.path, "merged", "db")
    assert delivery not in zone.unended("db", log)
    if number % 3 == 0:
        forget_outcome(delivery.path)
        assert zone.is_unended(file.name, "db")
"""


def test_several_processes_use_it_at_once(zone: RawZone, inbox: Path) -> None:
    finish([start(WORKING, zone.root, inbox, name) for name in ("a", "b", "c")])
    assert len(unended(zone)) == 3 * 14
    assert zone.index.differences() == []


def test_what_it_tells_wrongly_is_found(zone: RawZone) -> None:
    with closing(sqlite3.connect(zone.index.path)) as index, index:
        index.execute("UPDATE deliveries SET ended = 'refused' WHERE key = 'f2.csv'")
    (delivery,) = zone.deliveries("f2.csv")
    assert zone.index.differences() == [delivery.delivery_id]
    zone.index.path.unlink()
    assert zone.index.differences() == []


def test_a_backup_by_hard_links_makes_it_tell_nothing_wrongly(zone: RawZone, inbox: Path) -> None:
    (delivery,) = zone.deliveries("f2.csv")
    prune(delivery.path, needed=False)
    assert outcomes(zone, inbox) == ["merged"] * 5
    backup = zone.root.with_name("backup")
    shutil.copytree(zone.root, backup, copy_function=os.link)
    assert zone.index.differences() == []
    assert outcomes(zone, inbox) == ["merged"] * 5
    (inbox / "f2.csv").rename(inbox / "aside")
    (inbox / "aside").rename(inbox / "f2.csv")
    noted = delivery.path.with_suffix(".pruned").stat().st_ctime_ns
    assert (inbox / "f2.csv").stat().st_ctime_ns >= noted
    assert outcomes(zone, inbox)[2] is None  # It was dropped anew.


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
    assert found.ended == "merged"
    assert not_found == [None] * len(others)


def test_many_files_are_found_as_few_are(zone: RawZone, inbox: Path) -> None:
    older = versions(inbox)
    (inbox / "f1.csv").write_text("name,sku,description\n")
    note_outcome(land(zone, inbox, "f1.csv").path, "refused", "db")
    want_reverted(zone.deliveries("f2.csv")[0].path)
    (inbox / "f3.csv").write_text("name,sku,description\nm,s3,\n")  # Of the same size and time.
    os.utime(inbox / "f3.csv", (3, 3))
    note_outcome(land(zone, inbox, "f3.csv").path, "merged", "db")
    zone.deliveries("f4.csv")[0].path.with_suffix(".json").unlink()
    files = [*older, *versions(inbox)]
    others = [files[0]._replace(name=f"other{number}.csv") for number in range(1_000)]
    few = [RawZone(zone.root).index.landed([file])[0] for file in files]
    assert RawZone(zone.root).index.landed([*files, *others]) == [*few, *[None] * len(others)]
    assert [one and one.ended for one in few] == [
        *("merged", "merged", None, None, None),
        *("merged", None, "merged", None, "refused"),  # The oldest file first.
    ]
