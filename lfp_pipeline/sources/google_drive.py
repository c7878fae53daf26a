"""Shared files on Google Drive, and Google Sheets, by their links.

No account is used, so a file must be open to anyone with the link. Google answers with the file, or
with a page that says what is wrong. For a large file, the page says that the file was not scanned
for viruses, and has a form to download the file anyway.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlencode, urlsplit

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits, Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.html_page import WebPage
from lfp_pipeline.sources.http_download import download

HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
SCHEME = "gdrive:"

_FILES = "https://drive.usercontent.google.com"
_SHEETS = "https://docs.google.com"
_ID = re.compile(r"[\w-]{5,}", re.ASCII)
_IN_PATH = re.compile(r"/d/([^/]+)")
_SHEET = re.compile(r"/spreadsheets/(?:u/\d+/)?d/([^/]+)")
_FOLDER = re.compile(r"/(folders|folderview|drive)\b")
_NO_FILE = re.compile(r"/(document|presentation|forms|drawings)/")
_PUBLISHED_ID = "e"

_SIGN_IN = re.compile(r"//accounts\.google\.|/ServiceLogin\b|/signin/")
_QUOTA = re.compile(
    r"too many users have viewed or downloaded|quota (for this file )?(has been |is )?exceeded",
    re.IGNORECASE,
)
_MISSING = re.compile(r"file you have requested does not exist", re.IGNORECASE)
_NO_ACCESS = re.compile(r"you need (access|permission)|given you permission", re.IGNORECASE)
_LOGIN = re.compile(r"sign.?in|access denied", re.IGNORECASE)
_CONFIRM_FORM = "download-form"
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True)
class DriveFile:
    """A file on Google Drive, or a sheet of Google Sheets, exported as CSV.

    Attributes:
        sheet: for Google Sheets, the `gid` of the sheet; empty: the first sheet.
        resource_key: second key in the links to older files.
        base: URL of a server instead of Google's.
    """

    file_id: str
    limits: DownloadLimits
    sheet: str | None = None
    resource_key: str | None = None
    base: str | None = None

    @property
    def name(self) -> str:
        """The id of the file, and of its sheet."""
        return f"{SCHEME}{self.file_id}{f'#gid={self.sheet}' if self.sheet else ''}"

    @property
    def url(self) -> str:
        """The URL to request first."""
        if self.sheet is None:
            path = f"{self.base or _FILES}/download"
            fields = {"id": self.file_id, "export": "download"}
        else:
            path = f"{self.base or _SHEETS}/spreadsheets/d/{self.file_id}/export"
            fields = {"format": "csv"} | ({"gid": self.sheet} if self.sheet else {})
        if self.resource_key:
            fields["resourcekey"] = self.resource_key
        return f"{path}?{urlencode(fields)}"

    def version(self, known: Version | None) -> None:
        """Return None: Google reports no version without sending the file."""

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Download the file; the time is Google's Last-Modified."""
        return download(self.url, self.name, self.limits, sink, on_progress, _url_instead_of)


def file_by_id(location: str, limits: DownloadLimits) -> DriveFile:
    """Return the file at `gdrive:ID`; raise LandingError if the id is not valid."""
    return DriveFile(_checked_id(location[len(SCHEME) :].lstrip("/")), limits)


def file_by_link(link: str, limits: DownloadLimits) -> DriveFile | None:
    """Return the file behind a link; None: it is a download URL, as of a published sheet.

    Raises:
        LandingError: the link does not lead to a file.
    """
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if found := _SHEET.search(parts.path):
        if found[1] == _PUBLISHED_ID:
            return None
        return DriveFile(
            _checked_id(found[1]),
            limits,
            sheet=_sheet(query, parts.fragment),
            resource_key=query.get("resourcekey"),
        )
    if _NO_FILE.search(parts.path):
        msg = "The link leads to a document of Google. Use the link of a file or of a Google Sheet."
        raise LandingError(msg, permanent=True)
    in_path = _IN_PATH.search(parts.path)
    if not in_path and _FOLDER.search(parts.path):
        msg = "The link leads to a folder of Google Drive. Use the link of one file in the folder."
        raise LandingError(msg, permanent=True)
    file_id = in_path[1] if in_path else query.get("id", "")
    return DriveFile(_checked_id(file_id), limits, resource_key=query.get("resourcekey"))


def _checked_id(file_id: str) -> str:
    if _ID.fullmatch(file_id):
        return file_id
    msg = (
        "The link names no file of Google Drive. Use the link of Drive's Share button "
        "(https://drive.google.com/file/d/ID/view), or gdrive:ID."
    )
    raise LandingError(msg, permanent=True)


def _sheet(query: Mapping[str, str], fragment: str) -> str:
    """Return the `gid` of the sheet in a link; the fragment takes precedence, as in a browser."""
    gid = parse_qs(fragment).get("gid", [query.get("gid", "")])[0]
    return gid if gid.isdecimal() else ""


def _url_instead_of(name: str, page: WebPage) -> str | None:
    """Return the URL to request instead of a page; None: the status says enough."""
    if _CONFIRM_FORM in page.forms:
        return page.forms[_CONFIRM_FORM]
    if _QUOTA.search(f"{page.title} {page.text}"):
        msg = (
            f"{name}: Google Drive says that the file was downloaded too often lately. Try again "
            "in a day, or make a copy of the file in Drive and use the link of the copy."
        )
        raise LandingError(msg, permanent=False)
    if page.status in _GONE or _MISSING.search(page.text):
        msg = f"{name} is not there, says Google Drive. Check the link; was the file deleted?"
        raise LandingError(msg, permanent=True)
    if (
        page.status in _REFUSED
        or _SIGN_IN.search(page.url)
        or _LOGIN.search(page.title)
        or _NO_ACCESS.search(page.text)
    ):
        msg = (
            f"{name} is not public: Google Drive asks for a login. Share the file with anyone who "
            "has the link, and allow downloads."
        )
        raise LandingError(msg, permanent=True)
    if page.status != HTTPStatus.OK:
        return None
    msg = (
        f"{name}: Google Drive sent a page instead of the file: {page.text[:300]!r} Open the link "
        "in a private browser window to see what is missing."
    )
    raise LandingError(msg, permanent=True)
