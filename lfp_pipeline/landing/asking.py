"""Short questions to web servers: what a poll asks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.http_client import check_status, followed, http_client
from lfp_pipeline.landing.sources import DownloadLimits, Version, public_url

_SECONDS = 5.0
_MOST_BYTES = 1 << 16

_NOT_ASKED = (httpx.ConnectError, httpx.ConnectTimeout)
_BY_HEADER = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


class NotAskedError(LandingError):
    """The server did not get the question, so it has not changed its mind by it."""


@dataclass(frozen=True)
class Reply:
    """A status, headers, and the beginning of a body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, headers: Mapping[str, str], limits: DownloadLimits) -> Reply:
    """Send a GET, once, and take the beginning of its answer: 200, or 304.

    Raises:
        NotAskedError: the server did not get it.
        LandingError: there was no such answer within seconds.
    """
    deadline = time.monotonic() + _SECONDS
    body = b""
    try:
        with http_client(limits) as client:
            request = client.build_request("GET", url, headers=headers)
            left = partial(_seconds_until, deadline, url)
            with followed(client, request, left) as response:
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    check_status(public_url(url), response)
                for piece in response.iter_raw():
                    body += piece
                    left()
                    if len(body) >= _MOST_BYTES:
                        break
                return Reply(response.status_code, response.headers, body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = (str(error) or type(error).__name__).rstrip(".")
        msg = f"{public_url(url)} did not answer: {reason}."
        kind = NotAskedError if isinstance(error, _NOT_ASKED) else LandingError
        raise kind(msg, permanent=False) from error


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
    return {name: reply.headers[name] for name in _BY_HEADER if name in reply.headers} or None
