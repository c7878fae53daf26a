"""Files by http and https: streamed, resumed and tried again where that helps."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

import httpx
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.sources import DownloadLimits, OnProgress, Sink, utc_now

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT_AND_READ_SECONDS = 30.0
_MAX_REDIRECTS = 5
_SCHEMES = frozenset({"http", "https"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

# At its level INFO, httpx logs whole URLs, with the secrets in them.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class HttpFile:
    """A file behind a URL.

    Raises:
        LandingError: the URL is not one.
    """

    url: str
    limits: DownloadLimits

    def __post_init__(self) -> None:
        try:
            whole = httpx.URL(self.url).host and urlsplit(self.url).port != 0
        except (httpx.InvalidURL, ValueError):
            whole = False
        if not whole:
            # Neither the URL nor the reason: a password with an odd character may be in them.
            msg = "The URL is not valid. Odd characters in it must be written as %XX."
            raise LandingError(msg, permanent=True)

    @property
    def name(self) -> str:
        """The URL without user, password and query, which may be secrets."""
        return public_url(self.url)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> datetime:
        """Download; `delivered_at` is the server's Last-Modified, or else now."""
        transfer = _Transfer(self.url, self.limits, sink, on_progress)
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(self.limits.attempts) | stop_before_delay(self.limits.seconds),
            wait=wait_exponential_jitter(max=self.limits.longest_pause_seconds),
            reraise=True,
        )
        try:
            with httpx.Client(
                # The bytes as the server stores them: what is compressed is decompressed later.
                headers={"Accept-Encoding": "identity", "User-Agent": "lfp-pipeline"},
            ) as client:
                return retrying(transfer.attempt, client)
        except httpx.HTTPError as error:
            tries = retrying.statistics.get("attempt_number", 1)
            reason = (str(error) or type(error).__name__).rstrip(".")
            msg = f"{self.name} could not be downloaded ({tries} tries): {reason}."
            raise LandingError(msg, permanent=not _is_transient(error)) from error


@dataclass(frozen=True)
class _Version:
    """What the server says about the version of the file that it sends.

    Attributes:
        etag: a strong one; a weak one does not promise the same bytes.
        modified: Last-Modified.
        size: of the whole file.
    """

    etag: str | None
    modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """What names this version in If-Range."""
        return self.etag or self.modified

    def may_be(self, other: "_Version") -> bool:
        """Whether nothing that both know tells them apart."""
        pairs = zip(
            (self.etag, self.modified, self.size),
            (other.etag, other.modified, other.size),
            strict=True,
        )
        return all(one is None or two is None or one == two for one, two in pairs)


@dataclass
class _Transfer:
    """One download over several attempts: what has come so far, and of which version."""

    url: str
    limits: DownloadLimits
    sink: Sink
    on_progress: OnProgress
    done: int = 0
    version: _Version | None = None

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.limits.seconds

    def attempt(self, client: httpx.Client) -> datetime:
        resume: dict[str, str] = {}
        if self.done and self.version and self.version.validator:
            resume = {"Range": f"bytes={self.done}-", "If-Range": self.version.validator}
        with self._answer(client, resume) as response:
            if response.status_code in {
                httpx.codes.PARTIAL_CONTENT,
                httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE,
            }:
                version = self._continued(response)
            else:
                self._check_status(response)
                version = self._begun(response)
            self._take(response, version.size)
            # Of the first answer: the answer with the rest need not repeat it.
            return _delivered_at(version.modified)

    @contextmanager
    def _answer(self, client: httpx.Client, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, its body still to be read.

        Raises:
            LandingError: the time is over. Within it, no single wait for bytes lasts longer than
                what is left; a server that drips its headers can make many of them.
            httpx.HTTPError: there is no answer, or no end of redirects.
        """
        request = client.build_request("GET", self.url, headers=headers)
        for _ in range(1 + _MAX_REDIRECTS):
            if request.url.scheme not in _SCHEMES:
                msg = f"The redirect leads to the protocol {request.url.scheme!r}"
                raise httpx.UnsupportedProtocol(msg)
            seconds = min(_CONNECT_AND_READ_SECONDS, self._seconds_left())
            request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
            # httpx would follow by itself, but read each redirect's body into memory, of any size.
            with closing(client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
        msg = f"More than {_MAX_REDIRECTS} redirects"
        raise httpx.TooManyRedirects(msg)

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        msg = f"{public_url(self.url)} answered {status} {response.reason_phrase}."
        raise LandingError(msg, permanent=status not in _TRANSIENT_STATUSES)

    def _begun(self, response: httpx.Response) -> _Version:
        self.sink.restart()
        self.done = 0
        length = response.headers.get("Content-Length", "")
        self.version = _version(response, int(length) if length.isdecimal() else None)
        return self.version

    def _continued(self, response: httpx.Response) -> _Version:
        """The version that is being taken, if the answer is exactly the rest of it."""
        sent = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(sent)
        if found and self.version and int(found[1]) == self.done:
            size = int(found[2]) + 1
            whole = found[3] in {"*", str(size)}
            if whole and self.version.may_be(_version(response, size)):
                return self.version
        self.version = None
        msg = (
            f"{public_url(self.url)} sent the range {sent!r}, which is not the rest of the file "
            f"from byte {self.done}."
        )
        raise LandingError(msg, permanent=False)

    def _take(self, response: httpx.Response, size: int | None) -> None:
        self._check_limits(size or 0)
        for chunk in response.iter_raw():
            self.sink.write(chunk)
            self.done += len(chunk)
            self._check_limits(self.done)
            self.on_progress(self.done, size)
        if size is not None and self.done != size:
            msg = f"{public_url(self.url)} ended after {self.done} of {size} bytes."
            raise LandingError(msg, permanent=False)

    def _check_limits(self, size: int) -> None:
        if size > self.limits.max_bytes:
            msg = (
                f"{public_url(self.url)} is larger than {self.limits.max_bytes:,} bytes "
                "(setting LFP_MAX_DOWNLOAD_BYTES)."
            )
            raise LandingError(msg, permanent=True)
        self._seconds_left()

    def _seconds_left(self) -> float:
        """The time until the deadline, more than none.

        Raises:
            LandingError: it has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            msg = (
                f"{public_url(self.url)} took longer than {self.limits.seconds:,.0f} s "
                "(setting LFP_DOWNLOAD_TIMEOUT_SECONDS)."
            )
            raise LandingError(msg, permanent=True)
        return left


def public_url(url: str) -> str:
    """A URL that can be shown and stored: no user, no password, no query, no fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if parts.port:
        netloc = f"{netloc}:{parts.port}"
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, LandingError):
        return not error.permanent
    return isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol
    )


def _version(response: httpx.Response, size: int | None) -> _Version:
    etag = response.headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    return _Version(strong, response.headers.get("Last-Modified"), size)


def _delivered_at(modified: str | None) -> datetime:
    try:
        moment = parsedate_to_datetime(modified or "")
        # The zone -0000 is UTC, too, but gives a moment without one.
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return utc_now()
