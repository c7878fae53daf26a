"""Files by http and https, with resumption and retries."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from urllib.parse import urlsplit

import httpx

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits, Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.content_headers import charset_in, coding_in, inflated, must_inflate
from lfp_pipeline.sources.html_page import PAGE_BYTES, OnPage, WebPage, is_html, read_page
from lfp_pipeline.sources.http_client import (
    check_status,
    following_redirects,
    http_client,
    http_date,
)
from lfp_pipeline.sources.http_poll import fetch_version
from lfp_pipeline.sources.redaction import one_line, public_url
from lfp_pipeline.sources.transfer import Part, Transfer

_MAX_PAGES = 3
_RANGE_STATUSES = frozenset(
    {httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE}
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class HttpFile:
    """A file at a URL.

    Raises:
        LandingError: the URL is not valid.
    """

    url: str
    limits: DownloadLimits

    def __post_init__(self) -> None:
        try:
            is_valid = httpx.URL(self.url).host and urlsplit(self.url).port != 0
        except (httpx.InvalidURL, ValueError):
            is_valid = False
        if not is_valid:
            # Neither the URL nor the reason is shown: they may contain a password.
            msg = "The URL is not valid. Write special characters in it as %XX."
            raise LandingError(msg, permanent=True)

    @property
    def name(self) -> str:
        """The URL without user, password and query."""
        return public_url(self.url)

    def version(self, known: Version | None) -> Version | None:
        """Return the version that the server reports to a conditional request."""
        return fetch_version(self.url, known, self.limits)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Download the file; time and charset are those of Last-Modified and Content-Type."""
        return download(
            self.url, self.name, self.limits, sink, on_progress, partial(_refuse, self.url)
        )


def download(
    url: str,
    name: str,
    limits: DownloadLimits,
    sink: Sink,
    on_progress: OnProgress,
    on_page: OnPage,
) -> Fetched:
    """Download a file over several attempts, and return its metadata.

    Raises:
        LandingError: the last attempt failed.
    """
    return _HttpTransfer(name, limits, sink, on_progress, url, on_page).run()


@dataclass(frozen=True)
class _Version:
    """Version of the file in an answer.

    Attributes:
        etag: a strong ETag; a weak one does not promise the same bytes.
        size: size of the whole file, in bytes.
        coding: Content-Encoding, in canonical form.
        charset: charset of the text, in the first answer only. It does not identify the version.
    """

    etag: str | None
    modified: str | None
    size: int | None
    coding: str | None
    charset: str | None

    @property
    def validator(self) -> str | None:
        """Identifier of this version for If-Range."""
        return self.etag or self.modified

    def may_be(self, other: "_Version") -> bool:
        """Return whether no identifier that both versions have differs."""
        pairs = zip(
            (self.etag, self.modified, self.size, self.coding),
            (other.etag, other.modified, other.size, other.coding),
            strict=True,
        )
        return all(own is None or its is None or own == its for own, its in pairs)


@dataclass(frozen=True)
class _Answer:
    """An answer of a server.

    Attributes:
        response: status and headers.
        content: the unread body, inflated if it was deflated; to be iterated once.
        is_inflated: whether the body was deflated.
    """

    response: httpx.Response
    content: Iterator[bytes]
    is_inflated: bool


@dataclass
class _HttpTransfer(Transfer):
    """A download by http, resumed by the version of the file."""

    url: str
    on_page: OnPage
    client: httpx.Client = field(init=False)
    version: _Version | None = field(default=None, init=False)

    def run(self) -> Fetched:
        with http_client(self.limits, self.seconds_left) as self.client:
            return super().run()

    @contextmanager
    def read(self, offset: int) -> Iterator[Part]:
        resume: dict[str, str] = {}
        if offset and self.version and self.version.validator:
            resume = {"Range": f"bytes={offset}-", "If-Range": self.version.validator}
        try:
            with self._answer(resume) as answer:
                if answer.response.status_code in _RANGE_STATUSES:
                    version = self._continued(answer.response, offset)
                else:
                    check_status(self.name, self.url, answer.response, answer.content)
                    version, offset = self._begun(answer), 0
                fetched = Fetched(
                    http_date(version.modified or ""),
                    # The charset of the first answer: the one to a range need not repeat it.
                    TextFormat(charset=version.charset),
                )
                yield Part(offset, version.size, answer.content, fetched)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = one_line(str(error) or type(error).__name__, self.url).rstrip(".")
            msg = f"{self.name} could not be downloaded: {reason}."
            raise LandingError(msg, permanent=not _is_transient(error)) from error

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[_Answer]:
        """Yield the answer after all redirects, and after the pages that lead to another URL."""
        for _ in range(1 + _MAX_PAGES):
            request = self.client.build_request("GET", self.url, headers=headers)
            with following_redirects(self.client, request, self.seconds_left) as response:
                answer, page = _detect_page(self._opened(response))
                instead = self.on_page(self.name, page) if page else None
                if instead is None:
                    yield answer
                    return
                # Later attempts need not request the page again.
                self.url = instead
        msg = f"More than {_MAX_PAGES} pages led to other pages"
        raise httpx.TooManyRedirects(msg)

    def _opened(self, response: httpx.Response) -> _Answer:
        content = response.iter_raw()
        coding = coding_in(response.headers.get("Content-Encoding", ""))
        if response.status_code == httpx.codes.OK and must_inflate(self.name, coding):
            return _Answer(response, inflated(self.name, content), is_inflated=True)
        return _Answer(response, content, is_inflated=False)

    def _begun(self, answer: _Answer) -> _Version:
        length = answer.response.headers.get("Content-Length", "")
        is_counted = length.isdecimal() and not answer.is_inflated
        version = _version(answer.response, int(length) if is_counted else None)
        # Ranges count deflated bytes, so an inflated file cannot be resumed.
        self.version = None if answer.is_inflated else version
        return version

    def _continued(self, response: httpx.Response, offset: int) -> _Version:
        """Return the version of the download, if the answer is exactly its rest."""
        content_range = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found and self.version and int(found[1]) == offset:
            size = int(found[2]) + 1
            is_complete = found[3] in {"*", str(size)}
            if is_complete and self.version.may_be(_version(response, size)):
                return self.version
        self.version = None
        msg = (
            f"{self.name} sent the range {content_range!r}, which is not the rest of the file "
            f"from byte {offset}."
        )
        raise LandingError(msg, permanent=False)


def _is_transient(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol
    )


def _detect_page(answer: _Answer) -> tuple[_Answer, WebPage | None]:
    """Return an answer, and the web page in it; None: the answer is a file.

    Some servers declare every file as a page, and some files contain a page. So both the declared
    type and the begin of the content must be those of a page.
    """
    response, content = answer.response, answer.content
    is_whole = response.status_code != httpx.codes.PARTIAL_CONTENT
    if not (is_whole and is_html(response.headers.get("Content-Type", ""))):
        return answer, None
    start = b""
    for chunk in content:
        start += chunk
        if len(start) >= PAGE_BYTES:
            break
    page = read_page(start, str(response.url), response.status_code)
    return replace(answer, content=chain([start], content)), page


def _refuse(url: str, name: str, page: WebPage) -> None:
    if page.status != httpx.codes.OK:
        return
    title = one_line(page.title, url, page.url)
    quoted = f" ({title!r})" if title else ""
    msg = (
        f"{name} answered with a web page{quoted}, not a file. Use the URL that downloads the file "
        "without a login."
    )
    raise LandingError(msg, permanent=True)


def _version(response: httpx.Response, size: int | None) -> _Version:
    etag = response.headers.get("ETag")
    # A header that is not ASCII cannot be sent back.
    strong = etag if etag and etag.isascii() and not etag.startswith("W/") else None
    modified = response.headers.get("Last-Modified")
    coding = response.headers.get("Content-Encoding")
    is_whole = response.status_code == httpx.codes.OK
    return _Version(
        etag=strong,
        modified=modified if modified and modified.isascii() else None,
        size=size,
        # The answer to a range need not repeat the coding.
        coding=coding_in(coding or "") if coding or is_whole else None,
        charset=charset_in(response.headers.get("Content-Type", "")),
    )
