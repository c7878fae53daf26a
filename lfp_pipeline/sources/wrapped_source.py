"""Sources around a source: each one changes a part of how the inner source is fetched or named."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Source, Version
from lfp_pipeline.sources.redaction import redacting

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class WrappedSource:
    """A source that forwards to another one; subclasses override what they change."""

    source: Source

    @property
    def name(self) -> str:
        """Name of the inner source."""
        return self.source.name

    def version(self, known: Version | None) -> Version | None:
        """Return the version of the inner source."""
        return self.source.version(known)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the inner source."""
        return self.source.fetch(sink, on_progress)


@dataclass(frozen=True)
class ChecksummedSource(WrappedSource):
    """A source whose bytes must have a given digest.

    Raises:
        LandingError: `sha256` is no digest.
    """

    sha256: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256):
            msg = f"{self.sha256!r} is not a sha256: 64 hexadecimal digits."
            raise LandingError(msg, permanent=True)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source, and once more if the digest differs: bytes do get lost on the way.

        Raises:
            LandingError: the source cannot be fetched, or its digest differs both times.
        """
        for _ in range(2):
            sink.restart()
            fetched = super().fetch(sink, on_progress)
            found = sink.hexdigest()
            if found == self.sha256.lower():
                return fetched
        msg = (
            f"{self.name} has the sha256 {found}, not {self.sha256}. Check that the location is "
            "the right one, or correct the digest."
        )
        raise LandingError(msg, permanent=True)


@dataclass(frozen=True)
class DeclaredSource(WrappedSource):
    """A source whose text format the sources file declares.

    Attributes:
        declared: its encoding and delimiter replace those that the source states.
    """

    declared: TextFormat

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source, and set the declared format."""
        fetched = super().fetch(sink, on_progress)
        declared = replace(self.declared, charset=fetched.text_format.charset)
        return replace(fetched, text_format=declared)


@dataclass(frozen=True)
class RedactedSource(WrappedSource):
    """A source whose location contains values of the environment, which must not be shown.

    Attributes:
        shown: the name of the source, with the names of variables in place of values.
        names: for each value, the name that errors show instead.
    """

    shown: str
    names: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the source without values of the environment."""
        return self.shown

    def version(self, known: Version | None) -> Version | None:
        """Return the version of the source."""
        with redacting(self.names):
            return super().version(known)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source."""
        with redacting(self.names):
            return super().fetch(sink, on_progress)
