"""Short questions to web servers: what a poll asks."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from lfp_pipeline.errors import LandingError, NotAskedError
from lfp_pipeline.landing.http_client import check_status, followed, http_client
from lfp_pipeline.landing.sources import DownloadLimits, Version, public_url

_SECONDS = 5.0
_MOST_BYTES = 1 << 16

_NOT_ASKED = (httpx.ConnectError, httpx.ConnectTimeout)
_TIMES = ("Date", "Last-Modified")
_UNCERTAIN = timedelta(seconds=2)
_BY_HEADER = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


@dataclass(frozen=True)
class Reply:
    """A status, headers, and the beginning of a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, headers: Mapping[str, str], limits: DownloadLimits) -> Reply:
    """Send a GET, once, and take the beginning of its answer: 200, or 304.

    Raises:
        NotAskedError: the server did not get it, or refuses it.
        LandingError: there was no such answer within seconds.
    """
    deadline = time.monotonic() + _SECONDS
    body = b""
    try:
        left = partial(_seconds_until, deadline, url)
        with http_client(limits, left) as client:
            request = client.build_request("GET", url, headers=headers)
            with followed(client, request, left) as response:
                content = response.iter_raw()
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    _check_status(url, response, content)
                for piece in content:
                    body += piece
                    left()
                    if len(body) >= _MOST_BYTES:
                        break
                return Reply(response.status_code, response.headers, body)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = (str(error) or type(error).__name__).rstrip(".")
        msg = f"{public_url(url)} did not answer: {reason}."
        kind = NotAskedError if isinstance(error, _NOT_ASKED) else LandingError
        raise kind(msg, permanent=False) from error


def _check_status(url: str, response: httpx.Response, content: Iterator[bytes]) -> None:
    try:
        check_status(public_url(url), url, response, content)
    except LandingError as error:
        # Of what is neither a refusal nor an answer, nobody knows whether it was understood.
        kind = NotAskedError if response.is_client_error else LandingError
        raise kind(str(error), permanent=error.permanent, retry_after=error.retry_after) from None


def _seconds_until(deadline: float, url: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        msg = f"{public_url(url)} did not answer within {_SECONDS:.0f} s."
        raise LandingError(msg, permanent=False)
    return left


def version_at(url: str, known: Version | None, limits: DownloadLimits) -> Version | None:
    """What a server calls the present version of a file; `known`, if it says: not modified.

    Raises:
        LandingError: it could not be asked, or says something else.
    """
    conditions = {_BY_HEADER[name]: value for name, value in (known or {}).items()}
    reply = ask(url, conditions, limits)
    if reply.status == httpx.codes.NOT_MODIFIED:
        return known
    told = {name: reply.headers.get(name, "") for name in _BY_HEADER}
    # What is not ASCII cannot be sent back.
    version = {name: value for name, value in told.items() if value and value.isascii()}
    return None if version.keys() == {"Last-Modified"} and _is_fresh(reply) else version or None


def _is_fresh(reply: Reply) -> bool:
    """Whether a file may change again within the second that names its version."""
    try:
        sent, modified = (parsedate_to_datetime(reply.headers[name]) for name in _TIMES)
        return sent - modified < _UNCERTAIN
    except (KeyError, ValueError, TypeError):
        return True
