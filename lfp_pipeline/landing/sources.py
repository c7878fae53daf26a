"""Where a file comes from, and how its bytes are fetched."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit, urlunsplit

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.delivery import TextFormat
from lfp_pipeline.landing.fence import Fence
from lfp_pipeline.progress import printable

CHUNK_BYTES = 1 << 20

# All our moments are UTC without a zone.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_EARLIEST, _LATEST = datetime.min, datetime.max  # noqa: DTZ901


class Sink(Protocol):
    """Takes the bytes of a delivery in order."""

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""

    def restart(self) -> None:
        """Forget everything: the source begins anew."""


@dataclass(frozen=True)
class Fetched:
    """What a source says of the bytes that it has written to the sink.

    Attributes:
        modified: when they were last changed, in UTC without a zone; None: the source has no time.
        text_format: how they are written, as far as the source says.
    """

    modified: datetime | None
    text_format: TextFormat = field(default_factory=TextFormat)


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
    fence: Fence = field(default_factory=Fence)
    longest_pause_seconds: float = 30.0
    least_bytes_per_second: float = 1000.0
    pace_seconds: float = 60.0


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The path; what of it cannot be printed is spelled out, for every log and table."""
        return printable(os.fsencode(self.path).decode(errors="backslashreplace"))

    def version(self, known: Version | None) -> Version | None:
        """Its time and size."""
        del known
        with self._errors_told():
            status = self.path.stat()
        return {"mtime_ns": str(status.st_mtime_ns), "size": str(status.st_size)}

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the file. A file that changes meanwhile is not taken."""
        with self._errors_told():
            before = self.path.stat()
            if not S_ISREG(before.st_mode):  # A pipe or device may never end.
                msg = f"{self.name} is not a file."
                raise LandingError(msg, permanent=True)
            with self.path.open("rb") as file:
                _copy(file, sink, before.st_size, on_progress)
            after = self.path.stat()
        if _state(before) != _state(after):
            msg = f"{self.name} changed while it was being read. It is taken when it is at rest."
            raise LandingError(msg, permanent=False)
        return Fetched(utc_from_ns(before.st_mtime_ns))

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"{self.name} cannot be read: {error.strerror or error}."
            if isinstance(error, PermissionError):
                msg += " Let the user that runs this read it, or take it away."
            gone = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
            raise LandingError(msg, permanent=gone) from error


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes with a file's bytes; its ctime does so even where a writer resets the mtime."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _copy(file: BinaryIO, sink: Sink, size: int, on_progress: OnProgress) -> None:
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        sink.write(chunk)
        done += len(chunk)
        on_progress(done, size)


def utc_from_ns(nanoseconds: int) -> datetime:
    """A file time as UTC without a zone, cut to the microsecond, exactly (floats are not).

    File systems know years after 9999; they become the last moment that we can write.
    """
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST if nanoseconds > 0 else _EARLIEST


def utc_from_zone(moment: datetime) -> datetime:
    """A moment as UTC without a zone; where it has no zone, it is UTC.

    Raises:
        OverflowError: there is no such time in UTC.
    """
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)


def utc_now() -> datetime:
    """Now, in UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def public_url(url: str) -> str:
    """A URL that can be shown and stored: no user, no password, no query, no fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, host, parts.path, "", "")))
