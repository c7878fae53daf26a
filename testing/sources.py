"""A sink and a source in memory."""

from dataclasses import dataclass
from hashlib import sha256

from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Version


class Bytes:
    """A sink in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def restart(self) -> None:
        self.content = b""

    def hexdigest(self) -> str:
        return sha256(self.content).hexdigest()


@dataclass
class UndatedSource:
    """A source that states no time for its content."""

    content: bytes
    name: str = "timeless"

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        sink.write(self.content)
        on_progress(len(self.content), None)
        return Fetched(None)

    def version(self, known: Version | None) -> None:
        """Return no version."""
