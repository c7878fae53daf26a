"""Files on this machine. A file that a program is writing is not copied."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import LandingError, StillWrittenError, UnreadableError
from lfp_pipeline.sources.base import CHUNK_BYTES, Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.file_readers import readers_at
from lfp_pipeline.sources.write_lease import is_open_for_writing


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The path, printable."""
        return path_as_text(self.path)

    def version(self, known: Version | None) -> Version | None:
        """Return the modification time and size of the file."""
        del known
        with translating_read_errors(self.name):
            status = self.path.stat()
        return {"mtime_ns": str(status.st_mtime_ns), "size": str(status.st_size)}

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the file.

        Raises:
            StillWrittenError: a process has the file open for writing.
            LandingError: the file cannot be read, or changed during the copy.
        """
        with translating_read_errors(self.name):
            if not S_ISREG(self.path.stat().st_mode):  # A pipe or device may never end.
                msg = f"{self.name} is no regular file."
                raise LandingError(msg, permanent=True)
            with open(self.path, "rb", opener=_open_nonblocking) as file:
                fetched = copy_stable_file(file, self.name, sink, on_progress, self.path.stat)
                return replace(fetched, readers=readers_at(self.path, file.fileno()))


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for a program that holds a write lease."""
    return os.open(path, flags | os.O_NONBLOCK)


def path_as_text(path: Path) -> str:
    """Return a path for logs and tables, with escapes for unprintable characters and bytes."""
    return printable(os.fsencode(path).decode(errors="backslashreplace"))


@contextmanager
def translating_read_errors(name: str) -> Iterator[None]:
    """Raise system errors of the block as an `UnreadableError` that names the file."""
    try:
        yield
    except BlockingIOError as error:  # Another program holds a write lease.
        raise still_written_error(name) from error
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{name} cannot be read: {reason}."
        if isinstance(error, PermissionError):
            msg += " Give the user that runs this read permission, or remove it."
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
        raise UnreadableError(msg, reason, permanent=gone) from error


def still_written_error(name: str) -> StillWrittenError:
    """Return the error for a file that a program has open for writing."""
    msg = f"{name} is still being written: a program has it open. Try again once it is closed."
    return StillWrittenError(msg)


def copy_stable_file(
    file: BinaryIO,
    name: str,
    sink: Sink,
    on_progress: OnProgress,
    stat: Callable[[], os.stat_result],
) -> Fetched:
    """Copy an open file, and return its metadata without `readers`, which the caller adds.

    Args:
        file: open for reading, at its start.
        stat: returns the present state of the file, or of the file that replaced it.

    Raises:
        StillWrittenError: a process has the file open for writing. Nothing was copied.
        LandingError: the file changed during the copy.
    """
    if is_open_for_writing(file.fileno()):
        raise still_written_error(name)
    before = os.fstat(file.fileno())
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        sink.write(chunk)
        done += len(chunk)
        on_progress(done, before.st_size)
        if done > before.st_size:  # The file grows, perhaps without end.
            _require_unchanged(name, before, stat())
    _require_unchanged(name, before, stat())
    modified = utc_from_ns(before.st_mtime_ns)
    return Fetched(modified, is_file_time=True, ctime_ns=before.st_ctime_ns)


def _require_unchanged(name: str, before: os.stat_result, now: os.stat_result) -> None:
    if file_state(before) != file_state(now):
        msg = f"{name} changed while it was being read. Try again once no program writes it."
        raise LandingError(msg, permanent=False)


def file_state(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return what identifies a file and changes with its bytes.

    The ctime changes even where a writer resets the mtime.
    """
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
