"""The inbox: a folder into which people and programs drop files."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.partition_key import partition_key

_UNFINISHED_SUFFIXES = (".part", ".tmp", ".crdownload", ".filepart")


@dataclass(frozen=True)
class InboxFile:
    """One version of one file in the inbox.

    Attributes:
        name: path inside the inbox, with `/`.
        location: where it is.
        size_bytes: as listed.
        mtime_ns: as listed; it becomes the delivery's `delivered_at`.
        ctime_ns: when it was last written, moved, or touched.
    """

    name: str
    location: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

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
class Listing:
    """What is in the inbox: files that are ready, and names of those still being written."""

    ready: tuple[InboxFile, ...]
    unstable: tuple[str, ...]


def list_inbox(inbox: Path, *, quiet_seconds: float, now: float | None = None) -> Listing:
    """List the inbox with its sub-folders, oldest file first.

    Dotfiles and unfinished downloads are not files yet. Links are not followed: what is taken in
    lies inside the inbox.

    Args:
        inbox: the folder.
        quiet_seconds: a file that changed more recently than this is still being written.
        now: seconds since the epoch, for tests.

    Raises:
        LandingError: the inbox is missing or cannot be read. That is never the same as empty.
    """
    moment = time.time() if now is None else now
    ready: list[InboxFile] = []
    unstable: list[str] = []
    beginning = os.path.join(inbox, "")  # noqa: PTH118 (as scandir begins its paths)
    try:
        for entry in _walk(inbox):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # Taken away since it was listed.
                continue
            name = entry.path.removeprefix(beginning)
            # ctime moves with every write and rename, also where the writer sets an old mtime.
            if abs(moment - status.st_ctime) < quiet_seconds:
                unstable.append(name)
            else:
                ready.append(
                    InboxFile(
                        name,
                        entry.path,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                    )
                )
    except OSError as error:
        msg = (
            f"The inbox {inbox} cannot be read: {error.strerror}: {error.filename!r}. Create the "
            "folder and let it be read, or set LFP_DATA_DIR to the folder that the inbox is in."
        )
        raise LandingError(msg, permanent=False) from error
    return Listing(
        ready=tuple(sorted(ready, key=attrgetter("mtime_ns", "name"))),
        unstable=tuple(sorted(unstable)),
    )


def _walk(inbox: Path) -> Iterator[os.DirEntry[str]]:
    folders = [os.fspath(inbox)]  # Not by recursion: folders nest deeper than Python does.
    while folders:
        folder = folders.pop()
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            if folder == os.fspath(inbox):
                raise
            continue  # Taken away since it was listed.
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED_SUFFIXES):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
