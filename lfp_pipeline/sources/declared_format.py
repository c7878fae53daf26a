"""A source whose text format the sources file declares."""

from dataclasses import dataclass, replace

from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Source, Version


@dataclass(frozen=True)
class DeclaredSource:
    """A source, and what people declare of its text.

    Attributes:
        source: where the bytes come from.
        declared: its encoding and delimiter count in place of the source's own.
    """

    source: Source
    declared: TextFormat

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    def version(self, known: Version | None) -> Version | None:
        """Return the source's version."""
        return self.source.version(known)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Fetch the source, and add the declared format.

        Raises:
            LandingError: the source could not be fetched.
        """
        fetched = self.source.fetch(sink, on_progress)
        text_format = replace(
            fetched.text_format,
            encoding=self.declared.encoding,
            delimiter=self.declared.delimiter,
        )
        return replace(fetched, text_format=text_format)
