"""From what a person writes (a URL or a path) to a source."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.download import DownloadLimits, HttpFile
from lfp_pipeline.landing.sources import LocalFile, Source


def source_at(location: str, limits: DownloadLimits) -> Source:
    """The source at an http or https URL, a `file:` URL, or a path.

    Raises:
        LandingError: it is none of these.
    """
    scheme = urlsplit(location).scheme.lower() if "://" in location else ""
    if scheme in {"http", "https"}:
        return HttpFile(location, limits)
    if scheme == "file":
        return LocalFile(Path(unquote(urlsplit(location).path)))
    if not scheme:
        return LocalFile(Path(location).expanduser())
    msg = f"{scheme}:// is not supported. Give an http or https URL, or a path."
    raise LandingError(msg, permanent=True)
