"""Where a file comes from, and how its bytes are fetched."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.file_readers import Readers
from lfp_pipeline.sources.network_policy import NetworkPolicy

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
        network_policy: which hosts may be asked.
        longest_pause_seconds: between tries.
        least_bytes_per_second: a server that is slower is left, and asked again.
        pace_seconds: over so much waiting, its speed is measured.
    """

    attempts: int
    seconds: float
    max_bytes: int
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    longest_pause_seconds: float = 30.0
    least_bytes_per_second: float = 1000.0
    pace_seconds: float = 60.0
