"""Files by http and https: streamed, resumed and tried again where that helps."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from lfp_pipeline.errors import LandingError
from lfp_pipeline.landing.sources import CHUNK_BYTES, OnProgress, Sink, url_key, utc_now

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT_AND_READ_SECONDS = 30.0
_MAX_REDIRECTS = 5


@dataclass(frozen=True)
class DownloadLimits:
    """How far a download may go: tries, seconds for all of them, bytes."""

    attempts: int
    seconds: float
    max_bytes: int
    longest_pause_seconds: float = 30.0


@dataclass(frozen=True)
class HttpFile:
    """A file behind a URL."""

    url: str
    limits: DownloadLimits

    @property
    def name(self) -> str:
        """The URL without user, password and query, which may be secrets."""
        return public_url(self.url)

    @property
    def partition_key(self) -> str:
        """From the last segment of the path."""
        return url_key(self.url)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> datetime:
        """Download; `delivered_at` is the server's Last-Modified, or else now."""
        transfer = _Transfer(self.url, self.limits, sink, on_progress)
        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_exponential_jitter(initial=0.5, max=self.limits.longest_pause_seconds),
            reraise=True,
        )
        try:
            with httpx.Client(
                follow_redirects=True,
                max_redirects=_MAX_REDIRECTS,
                timeout=_CONNECT_AND_READ_SECONDS,
                # The bytes as the server stores them: what is compressed is decompressed later.
                headers={"Accept-Encoding": "identity", "User-Agent": "lfp-pipeline"},
            ) as client:
                return retrying(transfer.attempt, client)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            tries = retrying.statistics.get("attempt_number", 1)
            reason = str(error) or type(error).__name__
            msg = f"{self.name} could not be downloaded ({tries} tries): {reason}."
            raise LandingError(msg, permanent=False) from error


@dataclass
class _Transfer:
    """One download over several attempts: what has come so far, and of which version."""

    url: str
    limits: DownloadLimits
    sink: Sink
    on_progress: OnProgress
    done: int = 0
    validator: str | None = None

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.limits.seconds

    def attempt(self, client: httpx.Client) -> datetime:
        resume = {}
        if self.done and self.validator:
            resume = {"Range": f"bytes={self.done}-", "If-Range": self.validator}
        with client.stream("GET", self.url, headers=resume) as response:
            self._check_status(response)
            if response.status_code != httpx.codes.PARTIAL_CONTENT or not self._continues(response):
                self.sink.restart()
                self.done = 0
            self.validator = _strong_validator(response)
            self._take(response)
            return _delivered_at(response)

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
            return
        msg = f"{public_url(self.url)} answered {status} {response.reason_phrase}."
        raise LandingError(msg, permanent=status not in _TRANSIENT_STATUSES)

    def _continues(self, response: httpx.Response) -> bool:
        sent_range = response.headers.get("Content-Range", "")
        if sent_range.startswith(f"bytes {self.done}-"):
            return True
        msg = f"{public_url(self.url)} sent the range {sent_range!r}, not from byte {self.done}."
        raise LandingError(msg, permanent=True)

    def _take(self, response: httpx.Response) -> None:
        length = response.headers.get("Content-Length")
        total = self.done + int(length) if length and length.isdigit() else None
        for chunk in response.iter_raw(CHUNK_BYTES):
            self.sink.write(chunk)
            self.done += len(chunk)
            self._check_limits()
            self.on_progress(self.done, total)
        if total is not None and self.done != total:
            msg = f"{public_url(self.url)} ended after {self.done} of {total} bytes."
            raise LandingError(msg, permanent=False)

    def _check_limits(self) -> None:
        if self.done > self.limits.max_bytes:
            msg = (
                f"{public_url(self.url)} is larger than {self.limits.max_bytes:,} bytes "
                "(setting LFP_MAX_DOWNLOAD_BYTES)."
            )
            raise LandingError(msg, permanent=True)
        if time.monotonic() > self.deadline:
            msg = (
                f"{public_url(self.url)} took longer than {self.limits.seconds:,.0f} s "
                "(setting LFP_DOWNLOAD_TIMEOUT_SECONDS)."
            )
            raise LandingError(msg, permanent=True)


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


def _strong_validator(response: httpx.Response) -> str | None:
    """What names this version of the file for If-Range; a weak ETag may not."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified: str | None = response.headers.get("Last-Modified")
    return modified


def _delivered_at(response: httpx.Response) -> datetime:
    modified = response.headers.get("Last-Modified")
    try:
        moment = parsedate_to_datetime(modified) if modified else None
    except ValueError:
        moment = None
    if moment is None:
        return utc_now()
    return moment.astimezone(UTC).replace(tzinfo=None)
