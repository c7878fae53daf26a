"""Small, full, read-only and faulty disks: real ones, where mounting is permitted."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a folder for the block; skip the test where that is not permitted."""
    if not folder.exists():
        folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"Mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int = 64) -> Iterator[None]:
    """Give a folder a disk of its own for the block."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={megabytes}M", "tmpfs"):
        yield


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder or a file read-only for the block, also for root."""
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


@contextmanager
def full(disk: Path, bytes_left: int = 0) -> Iterator[None]:
    """Fill a small disk for the block, except for so many bytes."""
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    free = status.f_bavail * status.f_frsize
    with ballast.open("wb") as file:
        if free > bytes_left:
            os.posix_fallocate(file.fileno(), 0, free - bytes_left)
    try:
        yield
    finally:
        ballast.unlink()


def change_bytes(path: Path) -> None:
    """Change the last bytes of a file as a bad disk does: its size and its times stay."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
