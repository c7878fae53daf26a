"""Read leases reveal whether real processes have a file open for writing."""

import os
import sys
from pathlib import Path

import pytest

from lfp_pipeline.sources import write_lease
from lfp_pipeline.sources.write_lease import is_open_for_writing
from testing.processes import HOLD_OPEN, finish, running, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the leases of Linux")

HOLD_MAPPED = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
sys.stdin.read()
"""

OPEN_AGAIN_AND_AGAIN = """
import sys
print("opening", flush=True)
while True:
    with open(sys.argv[1], "r+b") as file:
        file.write(b"x")
"""

ASK_AGAIN_AND_AGAIN = """
import os, sys, time
from lfp_pipeline.sources.write_lease import is_open_for_writing
descriptor = os.open(sys.argv[1], os.O_RDONLY)
answers = [is_open_for_writing(descriptor) for _ in range(100_000)]
print(True in answers, False in answers)
"""

ASK_AS_NOBODY = """
import os, sys
from lfp_pipeline.sources.write_lease import is_open_for_writing
descriptor = os.open(sys.argv[1], os.O_RDONLY)
os.setuid(65534)
print(is_open_for_writing(descriptor))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(b"abc")
    return path


def is_written(path: Path) -> bool | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return is_open_for_writing(descriptor)
    finally:
        os.close(descriptor)


def test_a_closed_file_is_not_being_written(file: Path) -> None:
    assert is_written(file) is False


@pytest.mark.parametrize("mode", ["r+b", "ab", "wb"])
def test_a_file_open_for_writing_is_being_written(file: Path, mode: str) -> None:
    with running(HOLD_OPEN, file, mode):
        assert is_written(file)
    assert is_written(file) is False  # The process was killed.


def test_a_file_is_being_written_under_each_of_its_names(file: Path) -> None:
    other = file.with_name("other")
    other.hardlink_to(file)
    with running(HOLD_OPEN, other, "ab"):
        assert is_written(file)


def test_a_file_mapped_for_writing_is_being_written(file: Path) -> None:
    with running(HOLD_MAPPED, file):
        assert is_written(file)


def test_a_file_open_for_reading_is_not_being_written(file: Path) -> None:
    with running(HOLD_OPEN, file, "rb"):
        assert not is_written(file)


def test_the_check_disturbs_neither_its_process_nor_the_writer(file: Path) -> None:
    with running(OPEN_AGAIN_AND_AGAIN, file) as writer:
        (answers,) = finish([start(ASK_AGAIN_AND_AGAIN, file)])
        assert writer.poll() is None
    assert answers == "True True\n"


def test_a_lease_is_released_at_once(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert is_open_for_writing(descriptor) is False
        os.close(
            os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        )  # With a lease, this would fail or wait.
    finally:
        os.close(descriptor)


def test_without_leases_there_is_no_answer(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)  # Folders have no leases.
    try:
        assert is_open_for_writing(descriptor) is None
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("kind", "believed"),
    [
        *(("ext4", True), ("xfs", True), ("btrfs", True), ("tmpfs", True), ("overlay", True)),
        *(("nfs", False), ("nfs4", False), ("cifs", False), ("smb3", False), ("9p", False)),
        *(("fuse", False), ("fuseblk", False), ("fuse.sshfs", False), ("ceph", False)),
        *(("virtiofs", False), ("fakeowner", False), ("drvfs", False)),
    ],
)
def test_an_answer_counts_on_local_file_systems_only(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, believed: bool
) -> None:
    """The kernel answers; a copy of the mount list has another type of file system."""
    kernel = Path("/proc/self")
    mounts = (kernel / "mountinfo").read_text().splitlines()
    own = {line.split()[0]: line.partition(" - ")[2].split()[0] for line in mounts}
    descriptor = os.open(file, os.O_RDONLY)
    try:
        text = (kernel / "fdinfo" / str(descriptor)).read_text()
    finally:
        os.close(descriptor)
    mount_id = text.partition("mnt_id:")[2].split()[0]
    listed = "".join(
        line.replace(f" - {own[mount_id]} ", f" - {kind} ") + "\n"
        if line.split()[0] == mount_id
        else line.replace(f" - {own[line.split()[0]]} ", " - nfs4 ") + "\n"
        for line in mounts
    )
    (tmp_path / "mountinfo").write_text(listed)
    (tmp_path / "fdinfo").symlink_to(kernel / "fdinfo")
    monkeypatch.setattr(write_lease, "_SELF", tmp_path)
    monkeypatch.setattr(write_lease, "_known", {})
    with running(HOLD_OPEN, file, "ab"):
        assert is_written(file) is (True if believed else None)
    assert is_written(file) is (False if believed else None)


def test_the_list_of_mounts_is_not_read_for_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    is_mount_remote = write_lease._is_mount_remote  # noqa: SLF001

    def counted(descriptor: int) -> bool:
        reads.append("read")
        return is_mount_remote(descriptor)

    monkeypatch.setattr(write_lease, "_is_mount_remote", counted)
    monkeypatch.setattr(write_lease, "_known", {})
    for number in range(20):
        (tmp_path / f"{number}.csv").write_bytes(b"abc")
        assert is_written(tmp_path / f"{number}.csv") is False
    assert len(reads) <= 2


def test_a_refused_lease_counts_if_the_mount_is_unknown(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_lease, "_SELF", tmp_path)
    monkeypatch.setattr(write_lease, "_known", {})
    with running(HOLD_OPEN, file, "ab"):
        assert is_written(file)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of another user")
def test_files_of_other_users_are_not_checked(file: Path) -> None:
    with running(HOLD_OPEN, file, "ab"):
        assert is_written(file)  # Root may request leases of all files.
        assert finish([start(ASK_AS_NOBODY, file)]) == ["None\n"]
