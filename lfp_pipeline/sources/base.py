"""Protocols of sources and sinks, and the limits of a download."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.file_readers import Readers
from lfp_pipeline.sources.network_policy import NetworkPolicy

CHUNK_BYTES = 1 << 20


class Sink(Protocol):
    """Receiver of the bytes of a delivery, in order."""

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""

    def restart(self) -> None:
        """Discard all bytes: the source begins again."""

    def hexdigest(self) -> str:
        """Return the sha256 of the bytes, in hexadecimal digits."""


@dataclass(frozen=True)
class Fetched:
    """Metadata of the bytes that a source has written to the sink.

    Attributes:
        modified: modification time, in UTC without a zone; None: the source reports none.
        text_format: encoding and delimiter, as far as the source states them.
        readers: who may read the source. Only these and its owner may read the raw file.
        is_file_time: whether `modified` is the time of a file on this machine. Such times order the
            versions of a file; times that a server reports do not.
        ctime_ns: time of the last write, rename or touch of that file, in nanoseconds.
    """

    modified: datetime | None
    text_format: TextFormat = field(default_factory=TextFormat)
    readers: Readers = field(default_factory=Readers)
    is_file_time: bool = False
    ctime_ns: int | None = None


class Source(Protocol):
    """Something that can be fetched into the raw zone."""

    @property
    def name(self) -> str:
        """URL or path of the source, without credentials."""

    def fetch(self, sink: Sink, on_progress: "OnProgress") -> Fetched:
        """Write all bytes to the sink, and return their metadata.

        Raises:
            LandingError: the source cannot be fetched.
        """

    def version(self, known: "Version | None") -> "Version | None":
        """Return the current version of the source, without fetching the file.

        Args:
            known: the version at the last poll; returned if the source has not changed.

        Returns:
            The version; None: the source does not identify its versions.

        Raises:
            LandingError: the source does not answer.
        """


Version = dict[str, str]
"""Identifiers of a version of a source by kind: `ETag`, `Last-Modified`, `size`, ..."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes so far, and the bytes in all (None: unknown)."""


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of a download.

    Attributes:
        seconds: time for all attempts together.
        least_bytes_per_second: throughput below which an attempt fails.
        pace_seconds: seconds of waiting over which the throughput is measured.
    """

    attempts: int
    seconds: float
    max_bytes: int
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    longest_pause_seconds: float = 30.0
    least_bytes_per_second: float = 1000.0
    pace_seconds: float = 60.0
