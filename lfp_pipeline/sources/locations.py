"""Sources from locations: a URL, a link to Google Drive, or a path."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits, Source
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.sources.redaction import public_url, redacting
from lfp_pipeline.sources.wrapped_source import (
    ChecksummedSource,
    DeclaredSource,
    RedactedSource,
    WrappedSource,
)
from lfp_pipeline.sources.written_location import Location, shown_location

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_OF_A_URL = re.compile(r"(?![/.~](?!/))(?:.*[?#;@]|//|\w+//|[\w+.-]{2,}:)")
"""A mistyped URL. Such a path is a file only if there is one, because errors quote paths."""
_UNDECLARED = TextFormat()


def source_at(
    location: str,
    limits: DownloadLimits,
    sha256: str | None = None,
    declared: TextFormat = _UNDECLARED,
) -> Source:
    """Return the source at a URL, a link to Google Drive, or a path.

    A location that begins like `name:/` is a URL, even an invalid one, because it may contain
    secrets, and errors quote paths. White space around a URL is ignored.

    Args:
        location: the location. Values of the environment in it are shown by their names.
        sha256: required digest of the file; None: any.

    Raises:
        LandingError: the location is not valid.
    """
    if isinstance(location, Location) and location.names:
        source = _redacted_source_at(location, limits)
    else:
        source = _source_at(location, limits)
    if sha256:
        source = ChecksummedSource(source, sha256)
    return source if declared == _UNDECLARED else DeclaredSource(source, declared)


def file_name_of(source: Source) -> str:
    """Return the name of the file at a source: the last part of its path or URL.

    Empty if the URL has no path, or if a value of the environment is in that part, because the
    value may be a secret.
    """
    hidden: set[str] = set()
    while isinstance(source, WrappedSource):
        if isinstance(source, RedactedSource):
            hidden |= source.names.keys()
        source = source.source
    if isinstance(source, LocalFile):
        name = last = source.path.name
    else:
        scheme, is_url, place = source.name.partition("#")[0].partition("://")
        # Without `//`, it is the id of a file: `gdrive:ID`.
        host, _, last = (place.rstrip("/") if is_url else scheme.replace(":", "/")).rpartition("/")
        name = unquote(last) if host else ""
    is_hidden = any(value and (value in name or value in last) for value in hidden)
    return "" if is_hidden else name


def _redacted_source_at(location: Location, limits: DownloadLimits) -> Source:
    with redacting({**location.names, location: location.shown}):
        source = _source_at(location, limits)
    if isinstance(source, LocalFile):
        name = printable(location.shown)
    else:
        name = public_url(location.shown)
    return RedactedSource(source, name, {**location.names, source.name: name})


def _source_at(location: str, limits: DownloadLimits) -> Source:
    url = location.strip()
    start, marked, _ = url.partition(":/")
    if url.lower().startswith("gdrive:"):
        return _web_source(url, limits)
    if not marked or "/" in start:
        return _local_file(location)
    match start.lower():
        case "http" | "https":
            return _web_source(url, limits)
        case "file":
            try:
                return _local_file(unquote(urlsplit(url).path))
            except ValueError:  # A bracket that is no address.
                msg = "The URL is not valid. Write file:///PATH, or only the path."
                raise LandingError(msg, permanent=True) from None
        case scheme:
            return _stored_object(scheme, url, limits)


# These imports take longer than all others together, and most runs do not need them.


def _web_source(url: str, limits: DownloadLimits) -> Source:
    from lfp_pipeline.sources import google_drive  # noqa: PLC0415
    from lfp_pipeline.sources.http_download import HttpFile  # noqa: PLC0415

    if url.lower().startswith(google_drive.SCHEME):
        return google_drive.file_by_id(url, limits)
    file = HttpFile(url, limits)
    if urlsplit(url).hostname in google_drive.HOSTS:
        return google_drive.file_by_link(url, limits) or file
    return file


def _stored_object(scheme: str, url: str, limits: DownloadLimits) -> Source:
    from lfp_pipeline.sources.object_store import PROTOCOLS, StoredObject  # noqa: PLC0415

    if scheme in PROTOCOLS:
        return StoredObject(scheme + url[len(scheme) :], limits)
    is_shown = _SCHEME.fullmatch(scheme) and "@" not in url  # Else, it may be a user.
    subject = f"{scheme}://" if is_shown else "The protocol before :/"
    msg = (
        f"{subject} is not supported. Give a URL ({', '.join(sorted(PROTOCOLS))}, http, https), a "
        "link to Google Drive, or a path (./a:/b, not a:/b)."
    )
    raise LandingError(msg, permanent=True)


def _local_file(path: str) -> LocalFile:
    if not path or "\0" in path:
        msg = "An empty path, or one with a null character, is not a path."
        raise LandingError(msg, permanent=True)
    try:
        file = LocalFile(Path(path).expanduser())
    except RuntimeError as error:  # A `~user` that does not exist.
        msg = f"{shown_location(path)} cannot be found: {error}"
        raise LandingError(msg, permanent=True) from None
    if _OF_A_URL.match(path) and not os.path.lexists(file.path):
        msg = f"{shown_location(path)} is neither a file nor a URL, which begins like https://"
        raise LandingError(msg, permanent=True)
    return file
