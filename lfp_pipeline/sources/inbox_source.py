"""A file of the inbox as a source: only the listed version is opened, and no link is followed."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from lfp_pipeline.errors import LandingError, UnreadableError
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.file_readers import barrier, readers_of
from lfp_pipeline.sources.inbox import InboxFile, Listing, Skipped
from lfp_pipeline.sources.local_file import (
    copy_stable_file,
    file_state,
    path_as_text,
    still_written_error,
    translating_read_errors,
)
from lfp_pipeline.sources.write_lease import is_open_for_writing

_INBOX = os.O_RDONLY | os.O_DIRECTORY
_FOLDER = _INBOX | os.O_NOFOLLOW
_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
)  # Else opening a pipe would wait for its writer.
_REPLACED_ERRNOS = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
"""Errors for a file or folder that is gone, or was replaced by a link or a socket."""

_CHANGED = "it has changed, or was replaced by another file"


@dataclass(frozen=True)
class InboxSource:
    """A file of the inbox, in the listed version."""

    inbox: Path
    file: InboxFile

    @property
    def name(self) -> str:
        """The path, printable."""
        return path_as_text(self.file.path)

    def version(self, known: Version | None) -> Version | None:
        """Return the listed modification time and size."""
        del known
        return {"mtime_ns": str(self.file.mtime_ns), "size": str(self.file.size_bytes)}

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the file.

        Raises:
            StillWrittenError: a process has the file open for writing. Nothing was copied.
            LandingError: the file is not the listed version, changed meanwhile, or cannot be read.
        """
        with self._opened() as (file, barriers):
            stat = partial(os.fstat, file.fileno())
            fetched = copy_stable_file(file, self.name, sink, on_progress, stat)
            return replace(fetched, readers=readers_of(file.fileno(), barriers))

    def is_being_written(self) -> bool | None:
        """Return whether a process has the file open for writing; None: the kernel does not say.

        A file that is not the listed version any more counts as written.

        Raises:
            UnreadableError: the file cannot be opened.
        """
        try:
            with self._opened() as (file, _):
                return is_open_for_writing(file.fileno())
        except UnreadableError:
            raise
        except LandingError:
            return True

    def head(self, size: int) -> bytes:
        """Return the first bytes of the file.

        Raises:
            LandingError: the file is not the listed version, or cannot be read.
        """
        with self._opened() as (file, _):
            return file.read(size)

    def require_readable(self) -> None:
        """Check that the file can land now.

        Raises:
            StillWrittenError: a process has the file open for writing.
            LandingError: the file is not the listed version, or cannot be read.
        """
        with self._opened() as (file, _):
            if is_open_for_writing(file.fileno()):
                raise still_written_error(self.name)

    @contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, tuple[tuple[int, int], ...]]]:
        """Open the file for the block, and yield it with the barriers of its folders."""
        with translating_read_errors(self.name):
            try:
                descriptor, barriers = self._open()
            except OSError as error:
                if error.errno in _REPLACED_ERRNOS:
                    raise self._replaced(error.strerror or str(error)) from error
                raise
            if file_state(os.fstat(descriptor)) != self._listed_state:
                os.close(descriptor)
                raise self._replaced(_CHANGED)
            with os.fdopen(descriptor, "rb") as file:
                yield file, barriers

    @property
    def _listed_state(self) -> tuple[int, int, int, int, int]:
        file = self.file
        return file.device, file.inode, file.size_bytes, file.mtime_ns, file.ctime_ns

    def _open(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Open folder after folder, each relative to its parent: no name is resolved twice."""
        *folders, name = self.file.name.split("/")
        descriptor = os.open(self.inbox, _INBOX)
        try:
            barriers = [barrier(descriptor)]
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
                barriers.append(barrier(descriptor))
            return os.open(name, _FILE, dir_fd=descriptor), tuple(barriers)
        finally:
            os.close(descriptor)

    def _replaced(self, reason: str) -> LandingError:
        msg = (
            f"{self.name} is not the file that was listed any more: {reason}. The next run that "
            "lists the inbox ingests the present file."
        )
        return LandingError(msg, permanent=False)


def select_ready_files(
    inbox: Path, listing: Listing, due: Sequence[InboxFile], limit: int | None
) -> Listing:
    """Return a listing of which only the due files that can land now are ready.

    Due files are opened until the limit is reached. Files that a program has open for writing, or
    has changed, become `still_writing`, and unreadable files become `skipped`.
    """
    ready: list[InboxFile] = []
    written: list[str] = []
    unreadable: list[Skipped] = []
    for file in due:
        if len(ready) == limit:
            break
        try:
            if InboxSource(inbox, file).is_being_written():
                written.append(file.name)
            else:
                ready.append(file)
        except UnreadableError as error:
            unreadable.append(Skipped(file.name, error.reason))
    return replace(
        listing,
        ready=tuple(ready),
        still_writing=(*listing.still_writing, *sorted(written)),
        skipped=tuple(sorted((*listing.skipped, *unreadable), key=attrgetter("name"))),
    )
