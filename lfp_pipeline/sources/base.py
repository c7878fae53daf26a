"""Where a file comes from, and how its bytes are fetched."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import LandingError, StillWrittenError, UnreadableError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.file_readers import Readers, readers_at
from lfp_pipeline.sources.network_policy import NetworkPolicy
from lfp_pipeline.sources.write_lease import is_open_for_writing

CHUNK_BYTES = 1 << 20


class Sink(Protocol):
    """Takes the bytes of a delivery in order."""

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""

    def restart(self) -> None:
        """Discard all bytes: the source begins again."""

    def hexdigest(self) -> str:
        """Return the sha256 of the bytes, in hexadecimal digits."""


@dataclass(frozen=True)
class Fetched:
    """What a source says of the bytes that it has written to the sink.

    Attributes:
        modified: when they were last changed, in UTC without a zone; None: the source has no time.
        text_format: how they are written, as far as the source says.
        readers: who may read them; nobody else may read the raw file, but for its owner.
        is_file_time: whether `modified` is the time of a file on this machine. It tells which of
            two versions is newer; the time that a server reports does not.
        ctime_ns: of that file: when it was last written, moved or touched.
    """

    modified: datetime | None
    text_format: TextFormat = field(default_factory=TextFormat)
    readers: Readers = field(default_factory=Readers)
    is_file_time: bool = False
    ctime_ns: int | None = None


class Source(Protocol):
    """Something that can be fetched."""

    @property
    def name(self) -> str:
        """Where the bytes come from, without credentials."""

    def fetch(self, sink: Sink, on_progress: "OnProgress") -> Fetched:
        """Write all bytes to the sink, and return their time and text format.

        Raises:
            LandingError: with what happened and what to do.
        """

    def version(self, known: "Version | None") -> "Version | None":
        """What the source calls its present version, as far as that can be told without fetching.

        Args:
            known: what it called the one that was fetched last; returned where it is still that.

        Returns:
            The version; None: it cannot be told.

        Raises:
            LandingError: the source cannot be asked.
        """


Version = dict[str, str]
"""The names of a version of a source, by who gives them: an ETag, a modification time."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where known, the bytes in all."""


@dataclass(frozen=True)
class DownloadLimits:
    """How far a download may go.

    Attributes:
        attempts: tries.
        seconds: for all of them.
        max_bytes: of the file.
        fence: which hosts may be asked.
        longest_pause_seconds: between tries.
        least_bytes_per_second: a server that is slower is left, and asked again.
        pace_seconds: over so much waiting, its speed is measured.
    """

    attempts: int
    seconds: float
    max_bytes: int
    fence: NetworkPolicy = field(default_factory=NetworkPolicy)
    longest_pause_seconds: float = 30.0
    least_bytes_per_second: float = 1000.0
    pace_seconds: float = 60.0


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The path, as text."""
        return path_as_text(self.path)

    def version(self, known: Version | None) -> Version | None:
        """Its time and size."""
        del known
        with read_errors_told(self.name):
            status = self.path.stat()
        return {"mtime_ns": str(status.st_mtime_ns), "size": str(status.st_size)}

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the file. A file that is being written, or changes meanwhile, is not taken."""
        with read_errors_told(self.name):
            if not S_ISREG(self.path.stat().st_mode):  # A pipe or device may never end.
                msg = f"{self.name} is not a file."
                raise LandingError(msg, permanent=True)
            with open(self.path, "rb", opener=_opened_at_once) as file:
                fetched = copy_at_rest(file, self.name, sink, on_progress, self.path.stat)
                return replace(fetched, readers=readers_at(self.path, file.fileno()))


def _opened_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a program that has leased it to write it."""
    return os.open(path, flags | os.O_NONBLOCK)


def path_as_text(path: Path) -> str:
    """Return a path for every log and table; what of it cannot be printed is spelled out."""
    return printable(os.fsencode(path).decode(errors="backslashreplace"))


@contextmanager
def read_errors_told(name: str) -> Iterator[None]:
    """Make what the system says of a file of that name an UnreadableError."""
    try:
        yield
    except BlockingIOError as error:  # Another program has taken out a lease to write it.
        raise _still_written(name) from error
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{name} cannot be read: {reason}."
        if isinstance(error, PermissionError):
            msg += " Let the user that runs this read it, or take it away."
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
        raise UnreadableError(msg, reason, permanent=gone) from error


def _still_written(name: str) -> StillWrittenError:
    msg = (
        f"{name} is still being written: a program has it open. It can be taken once it is closed."
    )
    return StillWrittenError(msg)


def copy_at_rest(
    file: BinaryIO,
    name: str,
    sink: Sink,
    on_progress: OnProgress,
    look_again: Callable[[], os.stat_result],
) -> Fetched:
    """Copy an open file that nobody changes meanwhile. Who may read it is the caller's to tell.

    Args:
        file: open at its begin.
        name: of the file, for people.
        sink: takes the bytes.
        on_progress: is told how many.
        look_again: looks at the file, or at what has taken its place.

    Raises:
        StillWrittenError: a process has it open for writing. Nothing was copied.
        LandingError: it changed.
    """
    if is_open_for_writing(file.fileno()):
        raise _still_written(name)
    before = os.fstat(file.fileno())
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        sink.write(chunk)
        done += len(chunk)
        on_progress(done, before.st_size)
        if done > before.st_size:  # It grows, perhaps without end.
            _see_that_it_rests(name, before, look_again())
    _see_that_it_rests(name, before, look_again())
    modified = utc_from_ns(before.st_mtime_ns)
    return Fetched(modified, is_file_time=True, ctime_ns=before.st_ctime_ns)


def _see_that_it_rests(name: str, before: os.stat_result, now: os.stat_result) -> None:
    if file_state(before) != file_state(now):
        msg = f"{name} changed while it was being read. It is taken when it is at rest."
        raise LandingError(msg, permanent=False)


def file_state(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """What tells a file from others, and changes with its bytes.

    Its ctime does so even where a writer resets the mtime.
    """
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


_USER_INFO = re.compile(r"(?<=://)[^/]*@")


def public_url(url: str) -> str:
    """A URL that can be shown and stored: no user, no password, no query, no fragment."""
    whole = re.split("[?#]", url, maxsplit=1)[0]
    return printable(_USER_INFO.sub("", whole))
