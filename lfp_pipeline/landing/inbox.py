"""The inbox: a folder into which people and programs drop files."""

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.ignored import IgnoredNames
from lfp_pipeline.landing.partition_key import partition_key
from lfp_pipeline.progress import some_of

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
        location: where it is.
        size_bytes: as listed.
        mtime_ns: as listed; it becomes the delivery's `delivered_at`.
        ctime_ns: when it was last written, moved, or touched.
        device: number of the file system.
        inode: number of the file in it: with these, another file in its place is told from it.
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
        """Where it is."""
        return Path(self.location)  # Made when it is asked for: mostly nobody does.

    @property
    def partition_key(self) -> str:
        """The source file's partition."""
        return partition_key(self.name)

    @property
    def version(self) -> str:
        """What tells this version of the file from others, without reading it."""
        return f"{self.size_bytes}-{self.mtime_ns}"


@dataclass(frozen=True)
class Skipped:
    """An entry of the inbox that is not taken in: it is no file, or cannot be looked at.

    Attributes:
        name: path inside the inbox; of a folder, with a `/` at its end.
        reason: what it is, or what the system says.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Name and reason, for people."""
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class Listing:
    """What is in the inbox.

    Attributes:
        ready: files that are complete, as far as can be told without opening them.
        unstable: names of files that are still being written.
        skipped: entries that are no files, or cannot be looked at.
        ignored: names of entries that the patterns of temporary and side files match. Folders come
            first, each with a `/` at its end.
    """

    ready: tuple[InboxFile, ...]
    unstable: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def left_out(self) -> str:
        """What is skipped and ignored, for people; nothing, if nothing is."""
        parts = []
        if self.skipped:
            names = some_of([str(one) for one in self.skipped])
            parts.append(f"{len(self.skipped):,} skipped: {names}; see `make status`")
        if self.ignored:
            parts.append(f"{len(self.ignored):,} ignored by name: {some_of(self.ignored)}")
        return ". ".join(parts)


def list_inbox(
    inbox: Path, *, quiet_seconds: float, ignored: Sequence[str] = (), now: float | None = None
) -> Listing:
    """List the inbox with its sub-folders, oldest file first.

    Links are not followed: what is taken in lies inside the inbox.

    Args:
        inbox: the folder.
        quiet_seconds: a file that changed more recently than this is still being written.
        ignored: patterns of files that are ignored, beside those that always are.
        now: seconds since the epoch, for tests.

    Raises:
        LandingError: the inbox itself is missing or cannot be read. That is never the same as
            empty.
    """
    scan = _Scan(inbox, quiet_seconds, time.time() if now is None else now, ignored)
    scan.run()
    return Listing(
        ready=tuple(sorted(scan.ready, key=attrgetter("mtime_ns", "name"))),
        unstable=tuple(sorted(scan.unstable)),
        skipped=tuple(sorted(scan.skipped, key=lambda one: one.name)),
        ignored=tuple(sorted(scan.ignored, key=lambda name: (not name.endswith("/"), name))),
    )


class _Scan:
    """One look at all that is in the inbox."""

    def __init__(
        self, inbox: Path, quiet_seconds: float, moment: float, ignored: Sequence[str]
    ) -> None:
        self.ready: list[InboxFile] = []
        self.unstable: list[str] = []
        self.skipped: list[Skipped] = []
        self.ignored: list[str] = []
        self._inbox = inbox
        self._root = f"{inbox}/"
        self._quiet_seconds = quiet_seconds
        self._moment = moment
        self._is_ignored = IgnoredNames(ignored).match
        self._folders = [""]

    def run(self) -> None:
        while self._folders:  # Not by recursion: folders nest deeper than Python does.
            folder = self._folders.pop()
            try:
                # By its `.`: a folder that cannot be entered cannot be read either.
                descriptor = os.open(f"{self._root}{folder}.", os.O_RDONLY)
                try:  # Below a descriptor, the kernel has less of a path to walk for each file.
                    with os.scandir(descriptor) as entries:
                        for entry in entries:
                            self._look_at(entry, folder)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if not folder:
                    raise _unreadable(self._inbox, error) from error
                self._skip(folder, error)

    def _look_at(self, entry: os.DirEntry[str], folder: str) -> None:
        name = folder + entry.name
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            if self._is_ignored(name, is_folder=is_folder):
                self.ignored.append(f"{name}/" if is_folder else name)
                return
            if is_folder:
                self._folders.append(f"{name}/")
                return
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._skip(name, error)
            return
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG:
            self.skipped.append(Skipped(name, _NO_FILES.get(kind, "no file")))
        # ctime moves with every write and rename, also where the writer sets an old mtime.
        elif abs(self._moment - status.st_ctime) < self._quiet_seconds:
            self.unstable.append(name)
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
        if not isinstance(error, FileNotFoundError):  # Else it was taken away since it was listed.
            self.skipped.append(Skipped(name, error.strerror or str(error)))


def _unreadable(inbox: Path, error: OSError) -> LandingError:
    msg = (
        f"The inbox {inbox} cannot be read: {error.strerror or error}. Create the folder and let "
        "it be read, or set LFP_DATA_DIR to the folder that the inbox is in."
    )
    return LandingError(msg, permanent=False)
