"""HTTP client with a network policy, a deadline and a minimum throughput."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

from lfp_pipeline.common.clock import utc_from_zone, utc_now
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.redaction import one_line
from lfp_pipeline.sources.server_reason import reason_of

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT_AND_READ_SECONDS = 30.0
_MAX_REDIRECTS = 5
_SCHEMES = frozenset({"http", "https"})
_SECONDS = re.compile(r"[0-9]{1,12}")
_LONGEST_RETRY_AFTER = timedelta(days=366).total_seconds()

# At level INFO, httpx logs whole URLs with their secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)


def http_client(limits: DownloadLimits, seconds_left: Callable[[], float]) -> httpx.Client:
    """Return a client for one download or one poll.

    Proxies of the environment are not used: a proxy would resolve host names itself, which the
    network policy cannot check.

    Args:
        seconds_left: called before each wait for bytes; returns the longest wait, and raises after
            the deadline.
    """
    return httpx.Client(
        transport=_Transport(limits, seconds_left),
        # Identity: compressed files are stored as they are, and decompressed by the reader.
        headers={"Accept-Encoding": "identity", "User-Agent": "lfp-pipeline"},
    )


@contextmanager
def following_redirects(
    client: httpx.Client, request: httpx.Request, seconds_left: Callable[[], float]
) -> Iterator[httpx.Response]:
    """Send a request, follow redirects, and yield the answer with its body unread.

    Raises:
        LandingError: the network policy refuses a host.
        httpx.HTTPError: there is no answer, or too many redirects.
    """
    for _ in range(1 + _MAX_REDIRECTS):
        if request.url.scheme not in _SCHEMES:
            msg = f"The redirect leads to the protocol {request.url.scheme!r}"
            raise httpx.UnsupportedProtocol(msg)
        seconds = min(_CONNECT_AND_READ_SECONDS, seconds_left())
        request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
        # httpx itself would read the body of each redirect into memory, whatever its size.
        with closing(client.send(request, stream=True)) as response:
            if response.next_request is None:
                yield response
                return
            request = response.next_request
    msg = f"More than {_MAX_REDIRECTS} redirects"
    raise httpx.TooManyRedirects(msg)


def check_status(name: str, url: str, response: httpx.Response, content: Iterator[bytes]) -> None:
    """Raise a LandingError unless the status is 200.

    The error is permanent where another request would not help. Its text has the reason that the
    server gives in the unread content.
    """
    status = response.status_code
    if status == httpx.codes.OK:
        return
    phrase = one_line(response.reason_phrase, url)
    msg = f"{name} answered {status} {phrase}".rstrip()
    reason = reason_of(response, content, url).rstrip(". ")
    if reason.casefold() not in {"", phrase.casefold(), f"{status} {phrase}".casefold()}:
        msg += f": {reason}"
    permanent = status not in _TRANSIENT_STATUSES
    seconds = None if permanent else _retry_after(response)
    if seconds is not None:
        retry_at = utc_now() + timedelta(seconds=seconds)
        msg += f". It asks to be tried again after {retry_at:%Y-%m-%d %H:%M:%S} UTC"
    msg += "."
    raise LandingError(msg, permanent=permanent, retry_after=seconds)


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), _LONGEST_RETRY_AFTER)
    retry_at = http_date(value)
    if retry_at is None:
        return None
    # By the server's own clock, if the answer has its time.
    now = http_date(response.headers.get("Date", "")) or utc_now()
    return min(max((retry_at - now).total_seconds(), 0.0), _LONGEST_RETRY_AFTER)


def http_date(date: str) -> datetime | None:
    """Return the time of an HTTP date, in UTC without a zone; None: the text is no date."""
    try:
        # The zone -0000 is UTC, too, but gives a timestamp without a zone.
        return utc_from_zone(parsedate_to_datetime(date))
    except (ValueError, OverflowError):
        return None


class _Transport(httpx.HTTPTransport):
    def __init__(self, limits: DownloadLimits, seconds_left: Callable[[], float]) -> None:
        tls = httpx.create_ssl_context()
        super().__init__(verify=tls)
        # httpx offers no other way to set the network backend.
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, network_backend=_PolicyBackend(limits, seconds_left)
        )


class _PolicyBackend(httpcore.NetworkBackend):
    """Network backend that connects to checked addresses. TLS and `Host` keep the host name."""

    def __init__(self, limits: DownloadLimits, seconds_left: Callable[[], float]) -> None:
        self._limits = limits
        self._seconds_left = seconds_left
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._limits.network_policy.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        # All addresses together have the time of one connection.
        seconds = timeout and timeout / len(addresses)
        connect = partial(
            self._sockets.connect_tcp,
            port=port,
            timeout=seconds,
            local_address=local_address,
            socket_options=socket_options,
        )
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _ThroughputLimitedStream(connect(address), self._limits, self._seconds_left)
        return _ThroughputLimitedStream(connect(addresses[-1]), self._limits, self._seconds_left)


class _ThroughputLimitedStream(httpcore.NetworkStream):
    """Connection that fails when the server is too slow, in headers or content.

    Only the time spent waiting for bytes counts.
    """

    def __init__(
        self,
        stream: httpcore.NetworkStream,
        limits: DownloadLimits,
        seconds_left: Callable[[], float],
    ) -> None:
        self._seconds_left = seconds_left
        self._stream = stream
        self._limits = limits
        self._seconds = 0.0
        self._bytes = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        started = time.monotonic()
        remaining = self._seconds_left()
        try:
            received = self._stream.read(max_bytes, min(timeout or remaining, remaining))
        except httpcore.ReadTimeout:
            self._seconds_left()
            raise
        self._seconds += time.monotonic() - started
        self._bytes += len(received)
        if self._seconds >= self._limits.pace_seconds:
            if self._bytes < self._seconds * self._limits.least_bytes_per_second:
                msg = f"timed out: only {self._bytes:,} bytes came in {self._seconds:,.0f} s"
                raise httpcore.ReadTimeout(msg)
            self._seconds, self._bytes = 0.0, 0
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        encrypted = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _ThroughputLimitedStream(encrypted, self._limits, self._seconds_left)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (the type of httpcore)
        return self._stream.get_extra_info(info)
