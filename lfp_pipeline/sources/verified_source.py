"""A source whose digest was told beforehand."""

import re
from dataclasses import dataclass

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Source, Version

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class ChecksummedSource:
    """A source of which only certain bytes are taken.

    Attributes:
        source: where they come from.
        sha256: their digest, in hexadecimal digits.

    Raises:
        LandingError: that is no digest.
    """

    source: Source
    sha256: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256):
            msg = f"{self.sha256!r} is not a sha256: 64 hexadecimal digits."
            raise LandingError(msg, permanent=True)

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def version(self, known: Version | None) -> Version | None:
        """That of the source."""
        return self.source.version(known)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source; once more, should the digest differ: bytes do get lost on the way.

        Raises:
            LandingError: the source could not be fetched, or differs the second time, too. Then it
                is another file, or the digest is of another, and a third time would not help.
        """
        for _ in range(2):
            sink.restart()
            fetched = self.source.fetch(sink, on_progress)
            found = sink.hexdigest()
            if found == self.sha256.lower():
                return fetched
        msg = (
            f"{self.name} has the sha256 {found}, not {self.sha256}, as it was told. Either the "
            "file is not the one that is meant, or the digest is to be corrected."
        )
        raise LandingError(msg, permanent=True)
