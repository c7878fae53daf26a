"""Files that are either whole and on disk, or not there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark

_SUFFIX = ".part"


@contextmanager
def temporary_sibling(target: Path, mode: int = 0o666) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a new file beside `target`, under a temporary name; it is gone afterwards.

    Where its process is killed, the file stays, until somebody asks for the `stale_temporaries`.

    Args:
        target: the name that it is to have at last.
        mode: its permissions from the begin, as far as the umask allows them.
    """
    _make_folder(target.parent)
    temporary = target.parent / f".{uuid4().hex}{_SUFFIX}"
    with hold_mark(temporary, mode), temporary.open("wb") as file:
        yield file, temporary


def stale_temporaries(folder: Path) -> Iterator[Path]:
    """The temporary files in a folder whose writers are dead; each is gone when the next comes."""
    return claim_stale_marks(folder, f".*{_SUFFIX}")


def commit_file(file: BinaryIO, temporary: Path, target: Path) -> None:
    """Give a finished temporary file its name, so that it survives a power cut."""
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Take turns, with all who do so in that folder, for a short block.

    The kernel ends the turn of a process that is killed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make a folder that survives a power cut, too: its name is on disk in the one above."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put on disk which names a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
