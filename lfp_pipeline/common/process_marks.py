"""Marks of running processes: a mark is live while its process runs, and stale afterwards.

A mark is a file that its process has locked. The kernel releases the lock when the process ends for
whatever reason, and leaves the file. The mark is then stale, and what the process left behind can
be removed.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_HELD = ".held"
_ATTEMPTS = 20


@contextmanager
def hold_mark(mark: Path, mode: int = 0o666) -> Iterator[Path]:
    """Hold a mark for the block, and remove the file afterwards.

    Args:
        mark: the file, which the block may write.
        mode: permissions of the file, within the umask.
    """
    # The file is locked under another name first, so that a live mark is never seen unlocked.
    unnamed = mark.with_name(f".{uuid4().hex}")
    _create(unnamed, mode)
    with unnamed.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unnamed.rename(mark)
        try:
            yield mark
        finally:
            mark.unlink(missing_ok=True)


def _create(file: Path, mode: int) -> None:
    """Create a file and its folder, which another process may remove while the folder is empty."""
    for attempt in range(_ATTEMPTS):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode, exist_ok=False)
        except (FileNotFoundError, FileExistsError):
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def claim_stale_marks(
    folder: Path, pattern: str, *, wanted: Callable[[Path], bool] = lambda _: True
) -> Iterator[Path]:
    """Yield the stale marks in a folder that are wanted, and remove each after its turn.

    Of several processes that ask at once, one gets a mark.
    """
    for mark in _stale_marks(folder, pattern, fcntl.LOCK_EX):
        if wanted(mark):
            yield mark
            mark.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Create a folder for the block, and remove those that killed processes left."""
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
    """Return the stale marks in a folder without removing them."""
    return list(_stale_marks(folder, pattern, fcntl.LOCK_SH))


def live_marks(folder: Path, pattern: str) -> list[Path]:
    """Return the live marks in a folder."""
    return [mark for mark in sorted(folder.glob(pattern)) if _is_held(mark)]


def _is_held(mark: Path) -> bool:
    with suppress(FileNotFoundError), mark.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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
            if os.fstat(file.fileno()).st_nlink:  # Else it was just removed by its process.
                yield mark
