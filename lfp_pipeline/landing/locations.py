"""From what a person writes (a URL or a path) to a source."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.sources import DownloadLimits, LocalFile, Source

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def source_at(location: str, limits: DownloadLimits) -> Source:
    """The source at an http or https URL, a `file:` URL, or a path.

    What begins like `name:/` is a URL, well written or not: it may hold secrets, and the errors of
    paths quote them. Blanks around a URL are not part of it, as they may be of a path.

    Raises:
        LandingError: it is none of these.
    """
    url = location.strip()
    start, marked, _ = url.partition(":/")
    if not marked or "/" in start:
        return _local_file(location)
    match start.lower():
        case "http" | "https":
            # It takes longer to import than all else of ours, and most runs do without.
            from lfp_pipeline.landing.download import HttpFile  # noqa: PLC0415

            return HttpFile(url, limits)
        case "file":
            return _local_file(unquote(urlsplit(url).path))
        case scheme:
            told = f"{scheme}://" if _SCHEME.fullmatch(scheme) else "What stands before :/"
    msg = f"{told} is not supported. Give an http or https URL, or a path (./a:/b, not a:/b)."
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
