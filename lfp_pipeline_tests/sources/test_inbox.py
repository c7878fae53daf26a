"""The listing of the inbox: which files are ready, skipped or ignored."""

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from threading import Event, Thread

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.inbox import InboxFile, list_inbox
from testing.processes import PROJECT, finish, start


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def names(inbox: Path) -> list[str]:
    return sorted(file.name for file in list_inbox(inbox, stable_seconds=0).ready)


def test_a_stable_file_is_ready(inbox: Path) -> None:
    (inbox / "a.csv").write_bytes(b"abc")
    listing = list_inbox(inbox, stable_seconds=2, now=time.time() + 3)
    (file,) = listing.ready
    assert (file.name, file.path, file.size_bytes) == ("a.csv", inbox / "a.csv", 3)
    assert file.mtime_ns == (inbox / "a.csv").stat().st_mtime_ns
    assert listing.still_writing == ()


def test_a_recently_changed_file_is_not_ready(inbox: Path) -> None:
    (inbox / "a.csv").write_bytes(b"abc")
    listing = list_inbox(inbox, stable_seconds=60)
    assert (listing.ready, listing.still_writing) == ((), ("a.csv",))


def test_a_new_file_with_an_old_mtime_is_not_ready(inbox: Path) -> None:
    (inbox / "a.csv").write_bytes(b"abc")
    os.utime(inbox / "a.csv", (0, 0))
    assert list_inbox(inbox, stable_seconds=60).still_writing == ("a.csv",)


def test_a_recently_changed_file_is_ready_once_it_is_closed(inbox: Path) -> None:
    file = inbox / "a.csv"
    file.write_bytes(b"abc")
    changed_at = file.stat().st_ctime
    asked: list[str] = []

    def ready(age: float, *, closed: bool) -> bool:
        def is_closed(file: InboxFile) -> bool:
            asked.append(file.name)
            return closed

        listing = list_inbox(inbox, stable_seconds=2, is_closed=is_closed, now=changed_at + age)
        assert len(listing.ready) + len(listing.still_writing) == 1
        assert listing.settling == (age < 0.2)
        return bool(listing.ready)

    assert not ready(0.1, closed=True)  # The mtime may still be set, or the file opened again.
    assert asked == []
    assert not ready(0.3, closed=False)
    assert ready(0.3, closed=True)
    assert asked == ["a.csv"] * 2
    assert ready(2.5, closed=False)  # Only young files are asked for.
    assert asked == ["a.csv"] * 2


def test_an_empty_file_is_complete_only_after_the_quiet_time(inbox: Path) -> None:
    (inbox / "a.csv").touch()
    for seconds, ready in ((1, ()), (3, ("a.csv",))):
        listing = list_inbox(
            inbox, stable_seconds=2, is_closed=lambda _: True, now=time.time() + seconds
        )
        assert tuple(file.name for file in listing.ready) == ready


def test_a_listing_has_the_times_of_its_folders(inbox: Path) -> None:
    (inbox / "shop" / "new").mkdir(parents=True)
    (inbox / ".hidden").mkdir()
    found = list_inbox(inbox, stable_seconds=0).folders
    assert found == {name: (inbox / name).stat().st_mtime_ns for name in ("", "shop/", "shop/new/")}


def test_files_in_folders_have_their_path_as_name(inbox: Path) -> None:
    (inbox / "shop" / "new").mkdir(parents=True)
    (inbox / "shop" / "new" / "a.csv").write_bytes(b"abc")
    (inbox / "a.csv").write_bytes(b"abc")
    assert names(inbox) == ["a.csv", "shop/new/a.csv"]


def test_folders_may_nest_deeper_than_the_recursion_limit(inbox: Path) -> None:
    folders = [inbox := inbox / "d" for _ in range(1_200)]
    for folder in folders:
        folder.mkdir()
    file = folders[-1] / "a.csv"
    file.write_bytes(b"abc")
    try:
        assert names(folders[0].parent) == ["d/" * 1_200 + "a.csv"]
    finally:  # shutil.rmtree is recursive.
        file.unlink()
        for folder in reversed(folders):
            folder.rmdir()


def skipped(inbox: Path) -> dict[str, str]:
    listing = list_inbox(inbox, stable_seconds=0)
    return {entry.name: entry.reason for entry in listing.skipped}


def test_links_are_skipped_by_name(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.csv").write_bytes(b"abc")
    (inbox / "file.csv").symlink_to(tmp_path / "secret" / "a.csv")
    (inbox / "folder").symlink_to(tmp_path / "secret")
    (inbox / "loop").symlink_to(inbox)
    (inbox / "nowhere").symlink_to(tmp_path / "nowhere")
    assert names(inbox) == []
    assert skipped(inbox) == dict.fromkeys(["file.csv", "folder", "loop", "nowhere"], "a link")


def test_entries_that_are_no_files_are_skipped_by_name(inbox: Path) -> None:
    os.mkfifo(inbox / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as listening:
        descriptor = os.open(inbox, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{descriptor}/socket.csv")  # The path itself may be too long.
        os.close(descriptor)
    expected = {"pipe.csv": "a pipe", "socket.csv": "a socket"}
    with suppress(PermissionError):
        os.mknod(inbox / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        expected["null"] = "a device"
    (inbox / "a.csv").write_bytes(b"abc")
    assert names(inbox) == ["a.csv"]
    assert skipped(inbox) == expected


def test_a_path_that_is_too_long_is_skipped_alone(inbox: Path) -> None:
    (inbox / "a.csv").write_bytes(b"abc")
    depth = 20
    folders = [os.open(inbox, os.O_RDONLY)]
    try:
        for _ in range(depth):  # Each in its parent: the whole path is too long.
            os.mkdir("d" * 250, dir_fd=folders[-1])
            folders.append(os.open("d" * 250, os.O_RDONLY, dir_fd=folders[-1]))
        os.close(os.open("b.csv", os.O_WRONLY | os.O_CREAT, dir_fd=folders[-1]))
        assert names(inbox) == ["a.csv"]
        ((name, reason),) = skipped(inbox).items()
        assert reason == "File name too long"
        assert name.endswith("d/")
        os.unlink("b.csv", dir_fd=folders[-1])
    finally:
        for above in reversed(folders[:-1]):
            os.rmdir("d" * 250, dir_fd=above)
        for folder in folders:
            os.close(folder)


LIST_AS_NOBODY = """
import os, sys
from pathlib import Path
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.inbox import list_inbox
if os.getuid() == 0:  # Root may read everything.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    listing = list_inbox(Path(sys.argv[1]), stable_seconds=0)
    print([file.name for file in listing.ready], *listing.skipped, *listing.ignored)
except LandingError as error:
    print(error)
"""


@pytest.fixture
def open_inbox() -> Iterator[Path]:
    """An inbox that every user can reach, unlike the folders of pytest."""
    with TemporaryDirectory() as folder:
        inbox = Path(folder) / "inbox"
        inbox.mkdir()
        inbox.parent.chmod(0o755)
        yield inbox
        for folders in (inbox, *inbox.iterdir()):
            folders.chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400])
def test_an_unreadable_folder_is_skipped_by_name(open_inbox: Path, mode: int) -> None:
    for name in ("closed", "lost+found", "open"):
        (open_inbox / name).mkdir()
        (open_inbox / name / "a.csv").write_bytes(b"abc")
    for name in ("closed", "lost+found"):
        (open_inbox / name).chmod(mode)
    (output,) = finish([start(LIST_AS_NOBODY, open_inbox)])
    assert output == "['open/a.csv'] closed/ (Permission denied) lost+found/\n"


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_an_unreadable_inbox_is_an_error(open_inbox: Path, mode: int) -> None:
    (open_inbox / "a.csv").mkdir()
    open_inbox.chmod(mode)
    (output,) = finish([start(LIST_AS_NOBODY, open_inbox)])
    assert output.startswith(f"The inbox {open_inbox} cannot be read: Permission denied. Create")


WITHOUT_POWER = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.getuid() == 0
    else []
)
"""Makes the modes of files apply to root, too."""

LOOK_EVERYWHERE = """
import logging, sys
from pathlib import Path
from lfp_pipeline.engine import Engine
from lfp_pipeline.defs.sensors.inbox_planner import RunHistory, RunLimits, decide
from lfp_pipeline.settings import Settings
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
logging.basicConfig(stream=sys.stdout)
engine = Engine(Settings(data_dir=Path(sys.argv[1]), inbox_stable_seconds=0))
print(render_status(collect_status(engine)))
print("pending:", *[file.name for file in engine.pending_inbox(logging.getLogger()).ready])
catalog, limits = engine.catalog, RunLimits(3, 100, 3)
decision = decide(catalog.list_inbox(), RunHistory(), limits, catalog.set_apart)
print("sensor:", *[file.name for batch in decision.batches for file in batch.files])
print(decision.summary)
"""


@pytest.mark.skipif(bool(WITHOUT_POWER) and not which("setpriv"), reason="root may read everything")
def test_an_unreadable_file_is_skipped_by_name_in_every_listing(inbox: Path) -> None:
    for name in ("open.csv", "perm.csv"):
        (inbox / name).write_bytes(b"sku,name,description\ns1,Ann,\n")
    (inbox / "perm.csv").chmod(0)
    command = [*WITHOUT_POWER, sys.executable, "-c", LOOK_EVERYWHERE, str(inbox.parent)]
    looked = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    lines = looked.stdout.splitlines()
    assert "  1 in the inbox, not merged: open.csv (0.0 KB)" in lines
    assert "  1 skipped (Permission denied): perm.csv" in lines
    assert "pending: open.csv" in lines
    assert "sensor: open.csv" in lines
    skipped = "1 skipped: perm.csv (Permission denied)"
    assert f"WARNING:root:In the inbox {inbox}: {skipped}; see `lfp status`." in lines
    assert lines[-1].endswith(f"In the inbox, {skipped}; see `lfp status`.")


def test_ignored_entries_are_listed_with_folders_first(inbox: Path) -> None:
    for name in ("a.csv", ".a.csv", "a.csv.md5", "Thumbs.db", "b.old.csv"):
        (inbox / name).write_bytes(b"abc")
    (inbox / "@eaDir").mkdir()
    (inbox / "@eaDir" / "a.csv").write_bytes(b"abc")
    (inbox / "b.done").symlink_to(inbox / "a.csv")
    listing = list_inbox(inbox, stable_seconds=0, ignored=["*.old.csv"])
    assert [file.name for file in listing.ready] == ["a.csv"]
    ignored = ("@eaDir/", ".a.csv", "Thumbs.db", "a.csv.md5", "b.done", "b.old.csv")
    assert listing.ignored == ignored
    assert listing.skipped == ()
    assert listing.left_out == (
        "6 ignored by name: @eaDir/, .a.csv, Thumbs.db, a.csv.md5, b.done and 1 more"
    )


@pytest.mark.parametrize(
    "name",
    ["with space.csv", "größe 商品.csv", "..csv..", "a..b.csv", "x" * 255, "#?%*'\".csv", "a\nb"],
)
def test_any_name_is_listed_unchanged(inbox: Path, name: str) -> None:
    if name.startswith("."):
        name = "a" + name
    (inbox / name).write_bytes(b"abc")
    assert names(inbox) == [name]


def test_a_name_that_is_not_utf8_is_listed(inbox: Path) -> None:
    (inbox / os.fsdecode(b"\xff.csv")).write_bytes(b"abc")
    assert names(inbox) == [os.fsdecode(b"\xff.csv")]


def test_files_are_sorted_by_time_and_name(inbox: Path) -> None:
    for name, mtime in (("c", 5), ("b", 7), ("a", 7), ("d", -3)):
        (inbox / name).write_bytes(b"abc")
        os.utime(inbox / name, (mtime, mtime))
    ready = list_inbox(inbox, stable_seconds=0).ready
    assert [file.name for file in ready] == ["d", "c", "a", "b"]


def test_an_empty_inbox_is_empty(inbox: Path) -> None:
    assert names(inbox) == []


def test_a_missing_inbox_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    match = r"inbox .* cannot be read: No such file.* Create the folder .* or set LFP_DATA_DIR"
    with pytest.raises(LandingError, match=match) as caught:
        list_inbox(tmp_path / "inbox", stable_seconds=0)
    assert not caught.value.permanent


def test_a_file_in_place_of_the_inbox_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_bytes(b"")
    with pytest.raises(LandingError, match="Not a directory"):
        list_inbox(tmp_path / "inbox", stable_seconds=0)


def test_two_versions_of_a_file_have_different_versions(inbox: Path) -> None:
    file = inbox / "a.csv"
    versions = set()
    for content, mtime in ((b"abc", 1), (b"abc", 2), (b"abcd", 2)):
        file.write_bytes(content)
        os.utime(file, (mtime, mtime))
        versions.add(list_inbox(inbox, stable_seconds=0).ready[0].version)
    assert len(versions) == 3


def test_files_that_appear_and_disappear_meanwhile_are_no_error(inbox: Path) -> None:
    (inbox / "stays.csv").write_bytes(b"abc")
    stop = Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for number in range(20):
                (inbox / f"sub{number}").mkdir()
                (inbox / f"sub{number}" / "a.csv").write_bytes(b"abc")
                (inbox / f"{number}.csv").write_bytes(b"abc")
            for number in range(20):
                (inbox / f"{number}.csv").unlink()
                (inbox / f"sub{number}" / "a.csv").unlink()
                (inbox / f"sub{number}").rmdir()

    thread = Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert "stays.csv" in names(inbox)
    finally:
        stop.set()
        thread.join()
