"""Short questions to web servers: what a poll asks."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from lfp_pipeline.errors import LandingError, RequestNotSentError
from lfp_pipeline.sources.base import DownloadLimits, Version
from lfp_pipeline.sources.http_client import check_status, following_redirects, http_client
from lfp_pipeline.sources.redaction import one_line, public_url

_SECONDS = 5.0
_MOST_BYTES = 1 << 16

_NOT_ASKED = (httpx.ConnectError, httpx.ConnectTimeout)
_MODIFIED = "Last-Modified"
_UNCERTAIN = timedelta(seconds=2)
_BY_HEADER = {"ETag": "If-None-Match", _MODIFIED: "If-Modified-Since"}


@dataclass(frozen=True)
class HttpReply:
    """A status, headers, and the beginning of a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get_once(url: str, headers: Mapping[str, str], limits: DownloadLimits) -> HttpReply:
    """Send a GET, once, and take the beginning of its answer: 200, or 304.

    Raises:
        NotAskedError: the server did not get it, or refuses it.
        LandingError: there was no such answer within seconds.
    """
    body = b""
    with _answer(url, headers, limits) as (response, content):
        for piece in content:
            body += piece
            if len(body) >= _MOST_BYTES:
                break
        return HttpReply(response.status_code, response.headers, body)


@contextmanager
def _answer(
    url: str, headers: Mapping[str, str], limits: DownloadLimits
) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
    """Send a GET, once, and give its answer, 200 or 304, with a body that is still to be read.

    Raises:
        NotAskedError: the server did not get it, or refuses it.
        LandingError: there was no such answer within seconds, or the body is not.
    """
    deadline = time.monotonic() + _SECONDS
    try:
        left = partial(_seconds_until, deadline, url)
        with http_client(limits, left) as client:
            request = client.build_request("GET", url, headers=headers)
            with following_redirects(client, request, left) as response:
                content = _in_time(response.iter_raw(), left)
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    _check_status(url, response, content)
                yield response, content
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = one_line(str(error) or type(error).__name__, url).rstrip(".")
        msg = f"{public_url(url)} did not answer: {reason}."
        kind = RequestNotSentError if isinstance(error, _NOT_ASKED) else LandingError
        raise kind(msg, permanent=False) from error


def _in_time(content: Iterator[bytes], left: Callable[[], float]) -> Iterator[bytes]:
    for piece in content:
        yield piece
        left()


def _check_status(url: str, response: httpx.Response, content: Iterator[bytes]) -> None:
    try:
        check_status(public_url(url), url, response, content)
    except LandingError as error:
        # Of what is neither a refusal nor an answer, nobody knows whether it was understood.
        kind = RequestNotSentError if response.is_client_error else LandingError
        raise kind(str(error), permanent=error.permanent, retry_after=error.retry_after) from None


def _seconds_until(deadline: float, url: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        msg = f"{public_url(url)} did not answer within {_SECONDS:.0f} s."
        raise _TooSlowError(msg, permanent=False)
    return left


class _TooSlowError(LandingError):
    """The time for an answer is over."""


def fetch_version(url: str, known: Version | None, limits: DownloadLimits) -> Version | None:
    """What a server calls the present version of a file; `known`, if it says: not modified.

    Where a time is all that the server tells, it may name several versions: those of the present
    second, or all, if the server sends the file again under the time that it had before. Then the
    bytes name the version.

    Returns:
        The version; None: it cannot be told.

    Raises:
        LandingError: it could not be asked, or says something else.
    """
    told_before = known or {}
    conditions = {
        asked: told_before[name] for name, asked in _BY_HEADER.items() if name in told_before
    }
    with _answer(url, conditions, limits) as (response, content):
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return known
        told = {name: response.headers.get(name, "") for name in _BY_HEADER}
        # What is not ASCII cannot be sent back.
        version = {name: value for name, value in told.items() if value and value.isascii()}
        if version.keys() != {_MODIFIED}:
            return version or None
        if _is_fresh(response.headers):
            version = {}  # Asked for what is newer than this time, it would hide what comes now.
        elif version[_MODIFIED] != told_before.get(_MODIFIED):
            return version
        digest = _digest(content)
        return {**version, "sha256": digest} if digest else None


def _digest(content: Iterator[bytes]) -> str | None:
    """Return the digest of a body; None: not all of it came in time."""
    digest = hashlib.sha256()
    try:
        for piece in content:
            digest.update(piece)
    except _TooSlowError:
        return None
    return digest.hexdigest()


def _is_fresh(headers: Mapping[str, str]) -> bool:
    """Whether a file may change again within the second that names its version."""
    try:
        sent, modified = (parsedate_to_datetime(headers[name]) for name in ("Date", _MODIFIED))
        return sent - modified < _UNCERTAIN
    except (KeyError, ValueError, TypeError):
        return True
