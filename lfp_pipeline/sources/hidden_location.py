"""A source whose location has values of the environment in it, which nobody is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Source, Version
from lfp_pipeline.sources.redaction import veiled


@dataclass(frozen=True)
class VeiledSource:
    """A source that is known by another name.

    Attributes:
        source: where the bytes come from.
        name: what it is called.
        names: what its errors show in place of values.
    """

    source: Source
    name: str
    names: Mapping[str, str] = field(repr=False)

    def version(self, known: Version | None) -> Version | None:
        """Return the source's version."""
        with veiled(self._shown):
            return self.source.version(known)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source.

        Raises:
            LandingError: the source could not be fetched.
        """
        with veiled(self._shown):
            return self.source.fetch(sink, on_progress)

    @property
    def _shown(self) -> Mapping[str, str]:
        return {**self.names, self.source.name: self.name}
