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
    scheme, marked, _ = location.partition("://")
    match scheme.lower() if marked and scheme.isalnum() else "":
        case "http" | "https":
            return HttpFile(location, limits)
        case "file":
            return _local_file(unquote(urlsplit(location).path))
        case "":
            return _local_file(location)
    msg = f"{scheme}:// is not supported. Give an http or https URL, or a path."
    raise LandingError(msg, permanent=True)


def _local_file(path: str) -> LocalFile:
    if not path or "\0" in path:
        msg = f"{path!r} is not a path."
        raise LandingError(msg, permanent=True)
    try:
        return LocalFile(Path(path).expanduser())
    except RuntimeError as error:  # A `~user` that does not exist.
        msg = f"{path} cannot be found: {error}"
        raise LandingError(msg, permanent=True) from error
