"""Short questions to web servers: what a poll asks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.download import following, public_url, web_client
from lfp_pipeline.landing.sources import DownloadLimits, Version

_SECONDS = 5.0
_MOST_BYTES = 1 << 16

_NOT_ASKED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL)
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
    """Send a GET, once, and take the beginning of its answer: 2xx, or 304.

    Raises:
        NotAskedError: the server did not get it.
        LandingError: there was no such answer within seconds.
    """
    deadline = time.monotonic() + _SECONDS
    body = bytearray()
    try:
        with (
            web_client(limits) as client,
            following(client, url, headers, lambda: deadline - time.monotonic()) as response,
        ):
            if response.status_code == httpx.codes.OK:
                for piece in response.iter_raw(_MOST_BYTES):
                    body += piece
                    if len(body) >= _MOST_BYTES or time.monotonic() > deadline:
                        break
            if response.status_code != httpx.codes.NOT_MODIFIED:
                check_status(url, response)
            return Reply(response.status_code, response.headers, bytes(body))
    except httpx.HTTPError as error:
        reason = (str(error) or type(error).__name__).rstrip(".")
        msg = f"{public_url(url)} did not answer: {reason}."
        kind = NotAskedError if isinstance(error, _NOT_ASKED) else LandingError
        raise kind(msg, permanent=False) from error


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
