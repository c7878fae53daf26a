"""The inbox: a folder for files to be ingested."""

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.common.ignored_names import IgnoredNames
from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.partition_key import partition_key

_NO_FILES = {
    stat.S_IFLNK: "a link",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class InboxFile(NamedTuple):
    """One version of one file in the inbox.

    Attributes:
        name: path inside the inbox, with `/`.
        mtime_ns: modification time when listed; it becomes the delivery's `delivered_at`.
        ctime_ns: time of the last write, rename or touch when listed.
        device: number of the file system.
        inode: number of the file in its file system. Another file at the same path has another
            device, inode or ctime.
    """

    name: str
    location: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int = 0
    inode: int = 0

    @property
    def path(self) -> Path:
        """Whole path."""
        return Path(self.location)  # Created on demand, because few files need one.

    @property
    def partition_key(self) -> str:
        """Partition of the file."""
        return partition_key(self.name)

    @property
    def version(self) -> str:
        """Identifier of this version of the file, found without reading the file."""
        return f"{self.size_bytes}-{self.mtime_ns}"


@dataclass(frozen=True)
class Skipped:
    """An entry of the inbox that cannot be ingested: not a regular file, or not accessible.

    Attributes:
        name: path inside the inbox; a folder's ends in `/`.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class Listing:
    """Content of the inbox.

    Attributes:
        ready: files that are complete, as far as can be seen without opening them.
        still_writing: names of files that are still being written.
        skipped: entries that are no regular files, or not accessible.
        ignored: names of entries that match a pattern of ignored files. Folders come first, each
            with a `/` at its end.
    """

    ready: tuple[InboxFile, ...]
    still_writing: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def left_out(self) -> str:
        """Return a sentence on the skipped and ignored entries; empty without any."""
        parts = []
        if self.skipped:
            names = preview([str(entry) for entry in self.skipped])
            parts.append(f"{len(self.skipped):,} skipped: {names}; see `make status`")
        if self.ignored:
            parts.append(f"{len(self.ignored):,} ignored by name: {preview(self.ignored)}")
        return ". ".join(parts)


def list_inbox(
    inbox: Path, *, stable_seconds: float, ignored: Sequence[str] = (), now: float | None = None
) -> Listing:
    """List the inbox with its sub-folders, oldest file first.

    Links are not followed, so every listed file is inside the inbox.

    Args:
        stable_seconds: a file that changed within this time is still being written.
        ignored: patterns of ignored files, beside the built-in ones.
        now: seconds since the epoch; None: the current time.

    Raises:
        LandingError: the inbox is missing or cannot be read. Such an inbox is never an empty one.
    """
    scan = _Scan(inbox, stable_seconds, time.time() if now is None else now, ignored)
    scan.run()
    return Listing(
        ready=tuple(sorted(scan.ready, key=attrgetter("mtime_ns", "name"))),
        still_writing=tuple(sorted(scan.still_writing)),
        skipped=tuple(sorted(scan.skipped, key=attrgetter("name"))),
        ignored=tuple(sorted(scan.ignored, key=lambda name: (not name.endswith("/"), name))),
    )


class _Scan:
    """One traversal of the inbox."""

    def __init__(
        self, inbox: Path, stable_seconds: float, now: float, ignored: Sequence[str]
    ) -> None:
        self.ready: list[InboxFile] = []
        self.still_writing: list[str] = []
        self.skipped: list[Skipped] = []
        self.ignored: list[str] = []
        self._inbox = inbox
        self._root = f"{inbox}/"
        self._stable_seconds = stable_seconds
        self._now = now
        self._is_ignored = IgnoredNames(ignored).match
        self._folders = [""]

    def run(self) -> None:
        while self._folders:  # No recursion: folders nest deeper than Python does.
            folder = self._folders.pop()
            try:
                # The `.` makes a folder that cannot be entered fail here, and not for each entry.
                descriptor = os.open(f"{self._root}{folder}.", os.O_RDONLY)
                try:  # Below a descriptor, the kernel resolves a shorter path for each file.
                    with os.scandir(descriptor) as entries:
                        for entry in entries:
                            self._add(entry, folder + entry.name)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if not folder:
                    raise _unreadable(self._inbox, error) from error
                self._skip(folder, error)

    def _add(self, entry: os.DirEntry[str], name: str) -> None:
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            if self._is_ignored(name, is_folder=is_folder):
                self.ignored.append(f"{name}/" if is_folder else name)
            elif is_folder:
                self._folders.append(f"{name}/")
            else:
                self._add_file(name, entry.stat(follow_symlinks=False))
        except OSError as error:
            self._skip(name, error)

    def _add_file(self, name: str, status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG:
            self.skipped.append(Skipped(name, _NO_FILES.get(kind, "no file")))
        # The ctime moves with every write and rename, even where the writer sets an old mtime.
        elif abs(self._now - status.st_ctime) < self._stable_seconds:
            self.still_writing.append(name)
        else:
            self.ready.append(
                InboxFile(
                    name,
                    self._root + name,
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_dev,
                    status.st_ino,
                )
            )

    def _skip(self, name: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # Else the entry was removed meanwhile.
            self.skipped.append(Skipped(name, error.strerror or str(error)))


def _unreadable(inbox: Path, error: OSError) -> LandingError:
    msg = (
        f"The inbox {inbox} cannot be read: {error.strerror or error}. Create the folder and make "
        "it readable, or set LFP_DATA_DIR to the folder that contains the inbox."
    )
    return LandingError(msg, permanent=False)
