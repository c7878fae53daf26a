"""The inbox: a folder for files to be ingested."""

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.common.ignored_names import IgnoredNames
from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.partition_key import partition_key

SETTLE_SECONDS = 0.2
"""The time without a change after which the kernel's answer counts.

Many programs set the mtime after they have closed the file, or open the file once more.
"""

QUIET_SECONDS = 2.0
"""The time without a change after which a file counts as complete where the kernel does not say."""

GROWING_SECONDS = 60.0
"""A new version of a file that is so little younger than the last one is complete when quiet only.

A program that opens a log for each line has it closed nearly always.
"""

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
        etag: of an object in a bucket: identifies its bytes. Its ctime differs with the etag.
    """

    name: str
    location: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    device: int = 0
    inode: int = 0
    etag: str = ""

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


def size_of(version: str) -> int:
    """Return the size of a version of a file, in bytes; 0 for a text of another form."""
    size = version.partition("-")[0]
    return int(size) if size.isdecimal() else 0


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
        settling: how many files that are still being written have changed only just now.
        folders: the mtime of each listed folder in nanoseconds, before it was listed, by its path,
            which is empty for the inbox itself and else ends in `/`.
        started: when the listing began, in seconds since the epoch.
    """

    ready: tuple[InboxFile, ...]
    still_writing: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    ignored: tuple[str, ...] = field(default=(), compare=False)
    settling: int = field(default=0, compare=False)
    folders: Mapping[str, int] = field(default_factory=dict, compare=False)
    started: float = field(default=0.0, compare=False)

    @property
    def left_out(self) -> str:
        """Return a sentence on the skipped and ignored entries; empty without any."""
        parts = []
        if self.skipped:
            names = preview([str(entry) for entry in self.skipped])
            parts.append(f"{len(self.skipped):,} skipped: {names}; see `lfp status`")
        if self.ignored:
            parts.append(f"{len(self.ignored):,} ignored by name: {preview(self.ignored)}")
        return ". ".join(parts)


def list_inbox(
    inbox: Path,
    *,
    stable_seconds: float,
    is_closed: Callable[[InboxFile], bool] | None = None,
    ignored: Sequence[str] = (),
    now: float | None = None,
) -> Listing:
    """List the inbox with its sub-folders, oldest file first.

    Links are not followed, so every listed file is inside the inbox.

    Args:
        stable_seconds: a file that has not changed within this time is complete.
        is_closed: whether a file that has changed within this time is complete nevertheless. An
            empty file is not: its writer may have closed the file before writing it.
        ignored: patterns of ignored files, beside the built-in ones.
        now: seconds since the epoch; None: the current time.

    Raises:
        LandingError: the inbox is missing or cannot be read. Such an inbox is never an empty one.
    """
    now = time.time() if now is None else now
    scan = _Scan(inbox, stable_seconds, is_closed, now, ignored)
    scan.run()
    return Listing(
        ready=tuple(sorted(scan.ready, key=attrgetter("mtime_ns", "name"))),
        still_writing=tuple(sorted(scan.still_writing)),
        skipped=tuple(sorted(scan.skipped, key=attrgetter("name"))),
        ignored=tuple(sorted(scan.ignored, key=lambda name: (not name.endswith("/"), name))),
        settling=scan.settling,
        folders=scan.folders,
        started=now,
    )


class _Scan:
    """One traversal of the inbox."""

    def __init__(
        self,
        inbox: Path,
        stable_seconds: float,
        is_closed: Callable[[InboxFile], bool] | None,
        now: float,
        ignored: Sequence[str],
    ) -> None:
        self.ready: list[InboxFile] = []
        self.still_writing: list[str] = []
        self.settling = 0
        self.skipped: list[Skipped] = []
        self.ignored: list[str] = []
        self.folders: dict[str, int] = {}
        self._inbox = inbox
        self._root = f"{inbox}/"
        self._stable_seconds = stable_seconds
        self._is_closed = is_closed
        self._now = now
        self._is_ignored = IgnoredNames(ignored).match
        self._pending_folders = [""]

    def run(self) -> None:
        while self._pending_folders:  # No recursion: folders nest deeper than Python does.
            folder = self._pending_folders.pop()
            try:
                # The `.` makes a folder that cannot be entered fail here, and not for each entry.
                descriptor = os.open(f"{self._root}{folder}.", os.O_RDONLY)
                try:
                    self.folders[folder] = os.fstat(descriptor).st_mtime_ns
                    # Below a descriptor, the kernel resolves a shorter path for each file.
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
                self._pending_folders.append(f"{name}/")
            else:
                self._add_file(name, entry.stat(follow_symlinks=False))
        except OSError as error:
            self._skip(name, error)

    def _add_file(self, name: str, status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG:
            self.skipped.append(Skipped(name, _NO_FILES.get(kind, "no file")))
            return
        file = InboxFile(
            name,
            self._root + name,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_dev,
            status.st_ino,
        )
        # The ctime moves with every write and rename, even where the writer sets an old mtime.
        age = abs(self._now - status.st_ctime)
        if age >= self._stable_seconds or self._is_complete(file, age):
            self.ready.append(file)
        else:
            self.still_writing.append(name)
            self.settling += age < SETTLE_SECONDS

    def _is_complete(self, file: InboxFile, age: float) -> bool:
        return (
            self._is_closed is not None
            and age >= SETTLE_SECONDS
            and file.size_bytes > 0
            and self._is_closed(file)
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
