"""Marks that a process holds for as long as it lives: so the living are told from the dead.

A mark is a file that its process has locked. The kernel frees the lock when the process ends,
however it ends, and leaves the file: then the mark is abandoned, and what it stands for can be
cleared away.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_HELD = ".held"


@contextmanager
def hold_mark(mark: Path, mode: int = 0o666) -> Iterator[Path]:
    """Hold a mark for the block, which may write into it; it is gone afterwards.

    Args:
        mark: the file.
        mode: its permissions, as far as the umask allows them.
    """
    mark.parent.mkdir(parents=True, exist_ok=True)
    # Locked under another name first: nobody may find it unlocked while its process lives.
    unnamed = mark.with_name(f".{uuid4().hex}")
    unnamed.touch(mode, exist_ok=False)
    with unnamed.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(mark)
        try:
            yield mark
        finally:
            mark.unlink(missing_ok=True)


def claim_stale_marks(
    folder: Path, pattern: str, *, wanted: Callable[[Path], bool] = lambda _: True
) -> Iterator[Path]:
    """The marks in a folder whose processes are dead; each goes to one asker, and is gone then.

    Args:
        folder: that the marks are in.
        pattern: of their names.
        wanted: whether a mark is for this asker; others stay.
    """
    for mark in _stale_marks(folder, pattern, fcntl.LOCK_EX):
        if wanted(mark):
            yield mark
            mark.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder for the block, of a name that begins so; those of dead processes go now."""
    for mark in claim_stale_marks(parent, f"{name}-*{_HELD}"):
        shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
    folder = parent / f"{name}-{uuid4().hex}"
    with hold_mark(folder.with_suffix(_HELD)):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def stale_marks(folder: Path, pattern: str) -> list[Path]:
    """The marks in a folder whose processes are dead; they stay, for whoever else asks."""
    return list(_stale_marks(folder, pattern, fcntl.LOCK_SH))


def live_marks(folder: Path, pattern: str) -> list[Path]:
    """The marks in a folder whose processes live."""
    marks = set(folder.glob(pattern))
    return sorted(marks.difference(stale_marks(folder, pattern)))


def _stale_marks(folder: Path, pattern: str, lock: int) -> Iterator[Path]:
    for mark in sorted(folder.glob(pattern)):
        try:
            file = mark.open("rb")
        except FileNotFoundError:
            continue
        with file:
            try:
                fcntl.flock(file, lock | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if os.fstat(file.fileno()).st_nlink:  # Its holder has not just let go of it.
                yield mark
