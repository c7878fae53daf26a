"""Files of the inbox: only the listed version lands, and no user may read more than before."""

import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline.errors import LandingError, StillWrittenError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink
from lfp_pipeline.sources.inbox import list_inbox
from lfp_pipeline.sources.inbox_source import InboxSource, select_ready_files
from testing.engine import LOG
from testing.processes import HOLD_A_WRITE_LEASE, HOLD_OPEN, running
from testing.sources import Bytes

CONTENT = b"sku,name,description\ns1,Ann,x\n"
SECRET = b"the password is swordfish.....\n"
NAME = "shop/new/a.csv"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "shop" / "new").mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of the inbox, with a file of the same name, size and time."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a.csv").write_bytes(SECRET[: len(CONTENT)])
    time = (tmp_path / "inbox" / NAME).stat().st_mtime_ns
    os.utime(folder / "a.csv", ns=(time, time))
    return folder


def nothing(done: int, total: int | None) -> None:
    """Ignore the progress."""


def listed(inbox: Path) -> InboxSource:
    (file,) = list_inbox(inbox, stable_seconds=0).ready
    return InboxSource(inbox, file)


def fetched(source: InboxSource) -> bytes:
    sink = Bytes()
    source.fetch(sink, nothing)
    return sink.content


def refused(source: InboxSource) -> str:
    sink = Bytes()
    with pytest.raises(LandingError) as caught:
        source.fetch(sink, nothing)
    assert not caught.value.permanent
    assert sink.content == b""
    with pytest.raises(LandingError):
        source.head(4)
    return str(caught.value)


def test_an_unchanged_file_is_copied(inbox: Path) -> None:
    source = listed(inbox)
    assert fetched(source) == CONTENT
    assert source.head(3) == b"sku"
    assert source.name == str(inbox / NAME)
    assert not source.is_being_written()


def test_the_inbox_itself_may_be_a_link(inbox: Path) -> None:
    link = inbox.with_name("link")
    link.symlink_to(inbox)
    assert fetched(listed(link)) == CONTENT


def test_a_name_that_is_not_utf8_is_opened_and_escaped(inbox: Path) -> None:
    (inbox / NAME).rename(inbox / os.fsdecode(b"\xff.csv"))
    source = listed(inbox)
    assert fetched(source) == CONTENT
    assert source.name == str(inbox / r"\xff.csv")


def link_the_file(inbox: Path, outside: Path) -> None:
    (inbox / NAME).unlink()
    (inbox / NAME).symlink_to(outside / "a.csv")


def link_the_folder(inbox: Path, outside: Path) -> None:
    (inbox / "shop" / "new").rename(outside / "moved")
    (inbox / "shop" / "new").symlink_to(outside)


def link_to_where_it_is_now(inbox: Path, outside: Path) -> None:
    """Link to the same file: no link is followed, because its target may change."""
    (inbox / "shop").rename(outside / "shop")
    (inbox / "shop").symlink_to(outside / "shop")


def link_a_folder_above(inbox: Path, outside: Path) -> None:
    (inbox / "shop").rename(outside / "moved")
    (outside / "new").mkdir()
    (outside / "a.csv").rename(outside / "new" / "a.csv")
    (inbox / "shop").symlink_to(outside)


def replace_the_file(inbox: Path, outside: Path) -> None:
    (outside / "a.csv").rename(inbox / NAME)


def replace_a_folder(inbox: Path, outside: Path) -> None:
    (inbox / "shop" / "new").rename(inbox / "old")
    outside.rename(inbox / "shop" / "new")


def put_another_name_in_its_place(inbox: Path, outside: Path) -> None:
    (inbox / NAME).unlink()
    (inbox / NAME).hardlink_to(outside / "a.csv")


def take_the_file_away(inbox: Path, outside: Path) -> None:
    (inbox / NAME).rename(outside / "b.csv")


def take_a_folder_away(inbox: Path, outside: Path) -> None:
    (inbox / "shop").rename(outside / "shop")


def put_a_file_in_the_place_of_a_folder(inbox: Path, outside: Path) -> None:
    (inbox / "shop").rename(outside / "shop")
    (inbox / "shop").write_bytes(SECRET)


def put_a_folder_in_its_place(inbox: Path, outside: Path) -> None:
    del outside
    (inbox / NAME).unlink()
    (inbox / NAME).mkdir()


def put_a_pipe_in_its_place(inbox: Path, outside: Path) -> None:
    del outside
    (inbox / NAME).unlink()
    os.mkfifo(inbox / NAME)


def put_a_socket_in_its_place(inbox: Path, outside: Path) -> None:
    del outside
    (inbox / NAME).unlink()
    descriptor = os.open((inbox / NAME).parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{descriptor}/a.csv")
    os.close(descriptor)


def write_and_put_the_time_back(inbox: Path, outside: Path) -> None:
    time = (outside / "a.csv").stat().st_mtime_ns
    (inbox / NAME).write_bytes(SECRET[: len(CONTENT)])
    os.utime(inbox / NAME, ns=(time, time))


@pytest.mark.parametrize(
    "act",
    [
        link_the_file,
        link_the_folder,
        link_to_where_it_is_now,
        link_a_folder_above,
        replace_the_file,
        replace_a_folder,
        put_another_name_in_its_place,
        take_the_file_away,
        take_a_folder_away,
        put_a_file_in_the_place_of_a_folder,
        put_a_folder_in_its_place,
        put_a_pipe_in_its_place,
        put_a_socket_in_its_place,
        write_and_put_the_time_back,
    ],
)
def test_a_file_that_replaced_the_listed_one_is_not_copied(
    inbox: Path, outside: Path, act: Callable[[Path, Path], None]
) -> None:
    source = listed(inbox)
    act(inbox, outside)
    assert "is not the file that was listed any more" in refused(source)
    assert source.is_being_written()


def test_a_file_that_changed_since_its_listing_is_not_ready(inbox: Path) -> None:
    listing = list_inbox(inbox, stable_seconds=0)
    with (inbox / NAME).open("ab") as file:
        file.write(b"more")
        file.flush()
        apart = select_ready_files(inbox, listing, listing.ready, None)
    assert (apart.ready, apart.still_writing) == ((), (NAME,))


def test_a_file_that_changes_during_the_copy_is_refused(inbox: Path, tmp_path: Path) -> None:
    source = listed(inbox)
    zone = RawZone(tmp_path / "raw")

    class Meddled:
        name = "meddled"

        def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
            def meddle(done: int, total: int | None) -> None:
                on_progress(done, total)
                with (inbox / NAME).open("ab") as file:
                    file.write(b"s2,Bob,y\n")

            return source.fetch(sink, meddle)

    with pytest.raises(LandingError, match="changed while it was being read") as caught:
        zone.land(Meddled(), "a.csv", LOG)  # type: ignore[arg-type]
    assert not caught.value.permanent
    assert list((zone.root / "a.csv").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs the leases of Linux")
@pytest.mark.parametrize("mode", ["r+b", "ab"])
def test_a_file_that_a_program_has_open_for_writing_is_refused(inbox: Path, mode: str) -> None:
    source = listed(inbox)
    with running(HOLD_OPEN, inbox / NAME, mode):
        assert source.is_being_written()
        sink = Bytes()
        with pytest.raises(StillWrittenError, match=r"a.csv is still being written") as caught:
            source.fetch(sink, nothing)
        assert not caught.value.permanent
        assert sink.content == b""
    assert fetched(source) == CONTENT


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")
def test_a_file_under_a_write_lease_is_refused_without_waiting(inbox: Path) -> None:
    source = listed(inbox)
    with running(HOLD_A_WRITE_LEASE, inbox / NAME):
        assert source.is_being_written()
        assert "is still being written" in refused(source)


def raw_mode(inbox: Path, tmp_path: Path) -> int:
    delivery = RawZone(tmp_path / "raw").land(listed(inbox), "a.csv", LOG)
    return stat.S_IMODE(delivery.path.stat().st_mode)


@pytest.mark.parametrize(
    ("file", "folder", "raw"),
    [
        (0o644, 0o755, 0o444),
        (0o777, 0o777, 0o444),
        (0o640, 0o755, 0o440),
        (0o600, 0o755, 0o400),
        (0o604, 0o755, 0o404),
        (0o200, 0o755, 0o400),
        (0o644, 0o700, 0o400),
        (0o644, 0o750, 0o440),
        (0o644, 0o744, 0o400),
        (0o640, 0o711, 0o440),
        (0o604, 0o710, 0o400),
    ],
)
@pytest.mark.parametrize("where", ["", "shop", "shop/new"])
def test_a_raw_file_has_no_more_readers_than_its_source(
    inbox: Path, tmp_path: Path, file: int, folder: int, raw: int, where: str
) -> None:
    (inbox / NAME).chmod(file)
    (inbox / where).chmod(folder)
    if os.getuid() and not file & folder << 2 & 0o400:
        pytest.skip("only root can read it")
    assert raw_mode(inbox, tmp_path) == raw


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another group")
@pytest.mark.parametrize(
    ("file", "raw"), [(0o644, 0o444), (0o640, 0o400), (0o604, 0o400), (0o600, 0o400)]
)
@pytest.mark.parametrize("what", [NAME, "shop"])
def test_another_group_gets_no_more_than_all_others(
    inbox: Path, tmp_path: Path, file: int, raw: int, what: str
) -> None:
    os.chown(inbox / what, -1, 12_345)
    (inbox / what).chmod(file if what == NAME else file | file >> 2)
    assert raw_mode(inbox, tmp_path) == raw


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="only Linux has these access lists")
@pytest.mark.parametrize("what", [NAME, "shop"])
def test_with_an_access_list_only_the_owner_may_read_the_raw_file(
    inbox: Path, tmp_path: Path, what: str
) -> None:
    entries = ((0x01, 7, -1), (0x02, 0, 12_345), (0x04, 5, -1), (0x10, 5, -1), (0x20, 5, -1))
    packed = b"".join(
        tag.to_bytes(2, "little")
        + rights.to_bytes(2, "little")
        + (who % 2**32).to_bytes(4, "little")
        for tag, rights, who in entries
    )
    try:
        os.setxattr(inbox / what, "system.posix_acl_access", (2).to_bytes(4, "little") + packed)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert raw_mode(inbox, tmp_path) == 0o400
