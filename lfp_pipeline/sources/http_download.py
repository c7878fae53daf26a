"""Files by http and https: streamed, resumed and tried again where that helps."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import chain
from urllib.parse import urlsplit

import httpx

from lfp_pipeline.common.clock import utc_from_zone
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits, Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.content_headers import (
    charset_in,
    coding_in,
    inflated,
    must_inflate,
)
from lfp_pipeline.sources.html_page import PAGE_BYTES, OnPage, WebPage, is_html, read_page
from lfp_pipeline.sources.http_client import check_status, following_redirects, http_client
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

    def version(self, known: Version | None) -> Version | None:
        """What the server calls the present version, asked with a conditional request."""
        return fetch_version(self.url, known, self.limits)

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Download; the time is the server's Last-Modified, the charset its Content-Type's."""
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
    """Download a file, over several attempts, and return what the server says of it.

    Raises:
        LandingError: it could not be had.
    """
    return _HttpTransfer(name, limits, sink, on_progress, url, on_page).run()


@dataclass(frozen=True)
class _Version:
    """What the server says about the version of the file that it sends.

    Attributes:
        etag: a strong one; a weak one does not promise the same bytes.
        modified: Last-Modified.
        size: of the whole file.
        coding: Content-Encoding, in one spelling.
        charset: of its text. It names no version, and no more than the first answer has it.
    """

    etag: str | None
    modified: str | None
    size: int | None
    coding: str | None
    charset: str | None

    @property
    def validator(self) -> str | None:
        """What names this version in If-Range."""
        return self.etag or self.modified

    def may_be(self, other: "_Version") -> bool:
        """Whether nothing that both know tells them apart."""
        pairs = zip(
            (self.etag, self.modified, self.size, self.coding),
            (other.etag, other.modified, other.size, other.coding),
            strict=True,
        )
        return all(one is None or two is None or one == two for one, two in pairs)


@dataclass(frozen=True)
class _Answer:
    """What the server sent; `content` is still to be read, and only once.

    Attributes:
        response: status and headers.
        content: the body, without the coding that is undone on the way.
        is_inflated: whether there was one.
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
                    _delivered_at(version.modified),
                    # Of the first answer: the answer with the rest need not repeat it.
                    TextFormat(charset=version.charset),
                )
                yield Part(offset, version.size, answer.content, fetched)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = one_line(str(error) or type(error).__name__, self.url).rstrip(".")
            msg = f"{self.name} could not be downloaded: {reason}."
            raise LandingError(msg, permanent=not _is_transient(error)) from error

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[_Answer]:
        """The answer at the end of the redirects, and of the pages that lead on.

        Raises:
            LandingError: the time is over, or a page came instead of a file.
            httpx.HTTPError: there is no answer, or no end of redirects.
        """
        for _ in range(1 + _MAX_PAGES):
            request = self.client.build_request("GET", self.url, headers=headers)
            with following_redirects(self.client, request, self.seconds_left) as response:
                answer, page = _detect_page(self._opened(response))
                instead = self.on_page(self.name, page) if page else None
                if instead is None:
                    yield answer
                    return
                # What comes after a page need not be asked through it again.
                self.url = instead
        msg = f"More than {_MAX_PAGES} pages led to other pages"
        raise httpx.TooManyRedirects(msg)

    def _opened(self, response: httpx.Response) -> _Answer:
        """Return the answer, its content as it is to be stored."""
        content = response.iter_raw()
        coding = coding_in(response.headers.get("Content-Encoding", ""))
        if response.status_code == httpx.codes.OK and must_inflate(self.name, coding):
            return _Answer(response, inflated(self.name, content), is_inflated=True)
        return _Answer(response, content, is_inflated=False)

    def _begun(self, answer: _Answer) -> _Version:
        length = answer.response.headers.get("Content-Length", "")
        is_counted = length.isdecimal() and not answer.is_inflated
        version = _version(answer.response, int(length) if is_counted else None)
        # The ranges of what is inflated count other bytes: it is not resumed.
        self.version = None if answer.is_inflated else version
        return version

    def _continued(self, response: httpx.Response, offset: int) -> _Version:
        """The version that is being taken, if the answer is exactly the rest of it."""
        sent = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(sent)
        if found and self.version and int(found[1]) == offset:
            size = int(found[2]) + 1
            whole = found[3] in {"*", str(size)}
            if whole and self.version.may_be(_version(response, size)):
                return self.version
        self.version = None
        msg = (
            f"{self.name} sent the range {sent!r}, which is not the rest of the file "
            f"from byte {offset}."
        )
        raise LandingError(msg, permanent=False)


def _is_transient(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol
    )


def _detect_page(answer: _Answer) -> tuple[_Answer, WebPage | None]:
    """An answer, and the page that it is, if it is one.

    Some servers say of every file that it is a page, and some pages come as files: both what the
    server says and how the content begins must speak for a page.
    """
    response, content = answer.response, answer.content
    whole = response.status_code != httpx.codes.PARTIAL_CONTENT
    if not (whole and is_html(response.headers.get("Content-Type", ""))):
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
    titled = f" ({title!r})" if title else ""
    msg = (
        f"{name} answered with a web page{titled}, not a file. Give the URL that downloads the "
        "file; it must not need a login."
    )
    raise LandingError(msg, permanent=True)


def _version(response: httpx.Response, size: int | None) -> _Version:
    etag = response.headers.get("ETag")
    # What is not ASCII cannot be sent back.
    strong = etag if etag and etag.isascii() and not etag.startswith("W/") else None
    modified = response.headers.get("Last-Modified")
    coding = response.headers.get("Content-Encoding")
    is_whole = response.status_code == httpx.codes.OK
    return _Version(
        etag=strong,
        modified=modified if modified and modified.isascii() else None,
        size=size,
        # The answer with the rest need not repeat it.
        coding=coding_in(coding or "") if coding or is_whole else None,
        charset=charset_in(response.headers.get("Content-Type", "")),
    )


def _delivered_at(modified: str | None) -> datetime | None:
    try:
        # The zone -0000 is UTC, too, but gives a moment without one.
        return utc_from_zone(parsedate_to_datetime(modified or ""))
    except (ValueError, OverflowError):
        return None
