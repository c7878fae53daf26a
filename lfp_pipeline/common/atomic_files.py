"""Atomic writes: a file is either complete and on disk, or absent."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark

_SUFFIX = ".part"


@contextmanager
def temporary_sibling(target: Path, mode: int = 0o666) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a new file beside `target` under a temporary name, and remove it after the block.

    If the process is killed, the file stays until `stale_temporaries` removes it.

    Args:
        target: the path that `commit_file` will give to the file.
        mode: permissions of the file from its creation on, within the umask.

    Yields:
        The file, open for writing, and its temporary path.
    """
    _make_folder(target.parent)
    temporary = target.parent / f".{uuid4().hex}{_SUFFIX}"
    with hold_mark(temporary, mode), temporary.open("wb") as file:
        yield file, temporary


def stale_temporaries(folder: Path) -> Iterator[Path]:
    """Yield the temporary files of ended processes in a folder; each is removed after its turn."""
    return claim_stale_marks(folder, f".*{_SUFFIX}")


def commit_file(file: BinaryIO, temporary: Path, target: Path) -> None:
    """Rename a finished temporary file to its target, so that it survives a power cut."""
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)


def write_file(target: Path, content: bytes) -> None:
    """Write a file, or replace it."""
    with temporary_sibling(target) as (file, temporary):
        file.write(content)
        commit_file(file, temporary, target)


def remove_file(path: Path) -> None:
    """Remove a file, if it exists, so that it stays away after a power cut."""
    path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        sync_folder(path.parent)  # Even without the file: its removal may not have been synced.


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a folder for a short block.

    The kernel releases the lock of a killed process.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Write the list of names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
