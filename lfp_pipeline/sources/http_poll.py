"""Single requests to web servers, as polls send them."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from lfp_pipeline.errors import LandingError, RequestNotSentError
from lfp_pipeline.sources.base import DownloadLimits, Version
from lfp_pipeline.sources.http_client import check_status, following_redirects, http_client
from lfp_pipeline.sources.redaction import one_line, public_url

_SECONDS = 5.0
_MAX_BYTES = 1 << 16

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_MODIFIED = "Last-Modified"
_CLOCK_RESOLUTION = timedelta(seconds=2)
_CONDITIONS = {"ETag": "If-None-Match", _MODIFIED: "If-Modified-Since"}


def get_once(url: str, limits: DownloadLimits) -> bytes:
    """Send one GET, and return the beginning of the body of the answer.

    Raises:
        RequestNotSentError: the request did not reach the server, or was rejected.
        LandingError: there is no answer of status 200 or 304 within seconds.
    """
    body = b""
    with _answer(url, {}, limits) as (_, content):
        for piece in content:
            body += piece
            if len(body) >= _MAX_BYTES:
                break
        return body


@contextmanager
def _answer(
    url: str, headers: Mapping[str, str], limits: DownloadLimits
) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
    """Send one GET, and yield the answer, of status 200 or 304, and its unread body."""
    deadline = time.monotonic() + _SECONDS
    try:
        seconds_left = partial(_seconds_until, deadline, url)
        with http_client(limits, seconds_left) as client:
            request = client.build_request("GET", url, headers=headers)
            with following_redirects(client, request, seconds_left) as response:
                content = _in_time(response.iter_raw(), seconds_left)
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    _check_status(url, response, content)
                yield response, content
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = one_line(str(error) or type(error).__name__, url).rstrip(".")
        msg = f"{public_url(url)} did not answer: {reason}."
        kind = RequestNotSentError if isinstance(error, _NOT_SENT) else LandingError
        raise kind(msg, permanent=False) from error


def _in_time(content: Iterator[bytes], seconds_left: Callable[[], float]) -> Iterator[bytes]:
    for piece in content:
        yield piece
        seconds_left()


def _check_status(url: str, response: httpx.Response, content: Iterator[bytes]) -> None:
    try:
        check_status(public_url(url), url, response, content)
    except LandingError as error:
        # Only a client error means that the server has rejected the request.
        kind = RequestNotSentError if response.is_client_error else LandingError
        raise kind(str(error), permanent=error.permanent, retry_after=error.retry_after) from None


def _seconds_until(deadline: float, url: str) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        msg = f"{public_url(url)} did not answer within {_SECONDS:.0f} s."
        raise _TooSlowError(msg, permanent=False)
    return remaining


class _TooSlowError(LandingError):
    """The time for an answer is over."""


def fetch_version(url: str, known: Version | None, limits: DownloadLimits) -> Version | None:
    """Return the current version of a file; `known`, if the server answers "not modified".

    A time alone may identify several versions: those within one second, or all of a server that
    keeps the time when it replaces the file. Then the digest of the file identifies the version.
    Without any identifier, the version is None.

    Raises:
        LandingError: there is no answer of status 200 or 304.
    """
    known = known or {}
    conditions = {
        condition: known[header] for header, condition in _CONDITIONS.items() if header in known
    }
    with _answer(url, conditions, limits) as (response, content):
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return known or None
        headers = {name: response.headers.get(name, "") for name in _CONDITIONS}
        # A header that is not ASCII cannot be sent back.
        version = {name: value for name, value in headers.items() if value and value.isascii()}
        if version.keys() != {_MODIFIED}:
            return version or None
        if _is_fresh(response.headers):
            version = {}  # With this time as a condition, a change within its second stays unseen.
        elif version[_MODIFIED] != known.get(_MODIFIED):
            return version
        digest = _digest(content)
        return {**version, "sha256": digest} if digest else None


def _digest(content: Iterator[bytes]) -> str | None:
    """Return the digest of a body; None: the body was not complete in time."""
    digest = hashlib.sha256()
    try:
        for piece in content:
            digest.update(piece)
    except _TooSlowError:
        return None
    return digest.hexdigest()


def _is_fresh(headers: Mapping[str, str]) -> bool:
    """Return whether a file may still change within the second of its Last-Modified."""
    try:
        sent, modified = (parsedate_to_datetime(headers[name]) for name in ("Date", _MODIFIED))
        return sent - modified < _CLOCK_RESOLUTION
    except (KeyError, ValueError, TypeError):
        return True
