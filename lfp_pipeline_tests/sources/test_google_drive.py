"""Google Drive and Google Sheets, by a local server that answers like Google."""

import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits
from lfp_pipeline.sources.google_drive import DriveFile
from lfp_pipeline.sources.http_download import HttpFile
from lfp_pipeline.sources.locations import source_at
from testing.http_server import LOOPBACK, Exchange, Server, serving
from testing.sources import Bytes

LIMITS = DownloadLimits(
    attempts=2, seconds=60, max_bytes=10**9, network_policy=LOOPBACK, longest_pause_seconds=0.01
)
ID = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ-_0123"
KEY = "0-RAsourceKey"
UUID = "2b32fee2-d9c8-48a0-be9a-51d4b1dea839"
CONTENT = os.urandom(200_000)
CSV = b"sku,name,description\ns1,Ann,x\n"
MODIFIED = "Fri, 20 Nov 2026 08:19:52 GMT"

BAR = "<div id=gbar><a href='https://drive.google.com'>Drive</a> <a href='/x'>Sign in</a></div>"


def page(title: str, body: str) -> bytes:
    style = "<style>p{color:red}</style><script>if (1<2) {'Quota exceeded'}</script>"
    return (
        f'<!DOCTYPE html><html><head><title>{title}</title><meta charset="utf-8"/>{style}</head>'
        f"<body>{BAR}<div>{body}</div></body></html>"
    ).encode()


def error(caption: str, subcaption: str) -> str:
    return (
        f'<p class="uc-error-caption">{caption}</p><p class="uc-error-subcaption">{subcaption}</p>'
    )


QUOTA = page(
    "Google Drive - Quota exceeded",
    error(
        "Sorry, you can&#39;t view or download this file at this time.",
        "Too many users have viewed or downloaded this file recently. Please try accessing the "
        "file again later.",
    ),
)
INFECTED = page(
    "Google Drive - Infected file",
    error(
        "Sorry, this file is infected with a virus.",
        "Only the owner is allowed to download infected files.",
    ),
)
MISSING = page("Not Found", "Sorry, the file you have requested does not exist.")
DENIED = page(
    "Google Drive - Access Denied",
    error("Sorry, the owner hasn't given you permission to download this file.", ""),
)
NEEDS_ACCESS = page("Google Drive", "<h1>You need access</h1> Ask for access, or switch accounts")
LOGIN = page("Sign in - Google Accounts", "<h1>Sign in</h1> to continue to Google Drive")


@dataclass
class Google:
    """What a file's server answers.

    Attributes:
        large: too large to be scanned: the form comes first.
        page: the status and the page that come instead of the file.
        login: lead to the page to log in, as for a private file.
        cut: so many bytes come of the first answer.
        media_type: the Content-Type of the file.
    """

    large: bool = False
    page: tuple[int, bytes] | None = None
    login: bool = False
    cut: int = 0
    media_type: str = "application/octet-stream"
    seen: list[dict[str, str]] = field(default_factory=list)

    def answer(self, exchange: Exchange) -> None:
        parts = urlsplit(exchange.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.seen.append({"path": parts.path, **query})
        if parts.path == "/v3/signin/identifier":
            exchange.whole(LOGIN, Content_Type="text/html; charset=utf-8")
        elif self.login:
            there = "/v3/signin/identifier?" + urlencode({"continue": exchange.path})
            exchange.head(302, Location=there, Content_Length=0)
        elif self.page:
            status, body = self.page
            exchange.head(status, Content_Type="text/html", Content_Length=len(body))
            exchange.wfile.write(body)
        elif parts.path.startswith("/spreadsheets/") and parts.path.endswith("/export"):
            exchange.head(307, Location=f"/sheets/content?{parts.query}", Content_Length=0)
        elif parts.path == "/sheets/content":
            exchange.whole(CSV, Content_Type="text/csv", Content_Disposition="attachment")
        elif parts.path != "/download" or query.get("id") != ID:
            exchange.whole(MISSING, Content_Type="text/html")
        elif self.large and (query.get("confirm"), query.get("uuid")) != ("t", UUID):
            exchange.whole(self.form(exchange, query), Content_Type="text/html; charset=utf-8")
        else:
            self.file(exchange)

    def form(self, exchange: Exchange, query: dict[str, str]) -> bytes:
        """Return the form of 2024 to 2026, with its fields in another order, one escaped."""
        fields = {"id": ID, "export": "download", "confirm": "t", "uuid": UUID}
        fields |= {"resourcekey": query["resourcekey"]} if "resourcekey" in query else {}
        inputs = "".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">'
            for name, value in fields.items()
        )
        port = exchange.server.server_address[1]
        return page(
            "Google Drive - Virus scan warning",
            '<form id="search" action="/search"><input type="hidden" name="id" value="no"></form>'
            '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
            '<p class="uc-warning-subcaption">products.csv (1.2G) is too large.</p>'
            f'<form id="download-form" action="http://127.0.0.1:{port}/download" method="get">'
            f'<input type="submit" id="uc-download-link" value="Download anyway"/>{inputs}</form>',
        )

    def file(self, exchange: Exchange) -> None:
        headers = {
            "Content_Type": self.media_type,
            "Content_Disposition": 'attachment; filename="products.csv"',
            "Last_Modified": MODIFIED,
        }
        cut, self.cut = self.cut, 0
        if cut:
            exchange.head(200, Content_Length=len(CONTENT), **headers)
            exchange.wfile.write(CONTENT[:cut])
        elif exchange.range_start:
            exchange.rest(CONTENT, **headers)
        else:
            exchange.whole(CONTENT, **headers)


def drive_file(location: str, server: Server) -> DriveFile:
    source = source_at(location, LIMITS)
    assert isinstance(source, DriveFile)
    return replace(source, base=server.url(""))


def fetch(location: str, state: Google) -> tuple[bytes, datetime | None]:
    sink = Bytes()
    with serving(state.answer) as server:
        fetched = drive_file(location, server).fetch(sink, lambda _done, _size: None)
    return sink.content, fetched.modified


@pytest.mark.parametrize("large", [False, True])
def test_the_charset_of_the_file_is_kept(large: bool) -> None:
    state = Google(large=large, cut=1000, media_type="text/csv; charset=windows-1251")
    with serving(state.answer) as server:
        fetched = drive_file(f"gdrive:{ID}", server).fetch(Bytes(), lambda _done, _size: None)
    assert fetched.text_format == TextFormat(charset="cp1251")


def refusal(state: Google, location: str = f"gdrive:{ID}") -> LandingError:
    with pytest.raises(LandingError) as caught:
        fetch(location, state)
    return caught.value


@pytest.mark.parametrize(
    "link",
    [
        f"https://drive.google.com/file/d/{ID}/view?usp=sharing",
        f"https://drive.google.com/file/d/{ID}/view?usp=drive_link",
        f"https://drive.google.com/file/d/{ID}",
        f"https://drive.google.com/file/d/{ID}/edit#heading",
        f"https://drive.google.com/file/u/1/d/{ID}/preview",
        f"https://drive.google.com/a/example.org/file/d/{ID}/view",
        f"https://drive.google.com/open?id={ID}",
        f"https://drive.google.com/open?usp=drive_copy&id={ID}",
        f"https://drive.google.com/uc?id={ID}",
        f"https://drive.google.com/uc?export=download&id={ID}",
        f"https://drive.google.com/u/0/uc?id={ID}&export=download&confirm=t",
        f"https://docs.google.com/uc?export=download&id={ID}",
        f"https://drive.usercontent.google.com/download?id={ID}&export=download&authuser=0",
        f"https://drive.usercontent.google.com/u/0/uc?id={ID}",
        f"HTTPS://Drive.Google.Com/file/d/{ID}/view",
        f" https://drive.google.com/file/d/{ID}/view\n",
        f"gdrive:{ID}",
        f"GDrive:{ID}",
        f"gdrive://{ID}",
    ],
)
def test_every_kind_of_link_to_a_file_is_downloaded(link: str) -> None:
    state = Google()
    content, delivered_at = fetch(link, state)
    assert content == CONTENT
    assert delivered_at == datetime(2026, 11, 20, 8, 19, 52)  # noqa: DTZ001
    assert state.seen == [{"path": "/download", "id": ID, "export": "download"}]
    assert source_at(link, LIMITS).name == f"gdrive:{ID}"


def test_a_file_is_requested_from_google() -> None:
    source = source_at(f"gdrive:{ID}", LIMITS)
    assert isinstance(source, DriveFile)
    assert source.url == f"https://drive.usercontent.google.com/download?id={ID}&export=download"


def test_a_resource_key_is_sent_but_not_shown() -> None:
    state = Google(large=True)
    link = f"https://drive.google.com/file/d/{ID}/view?resourcekey={KEY}&usp=sharing"
    assert fetch(link, state)[0] == CONTENT
    assert [asked["resourcekey"] for asked in state.seen] == [KEY, KEY]
    assert KEY not in source_at(link, LIMITS).name


def test_the_form_of_a_large_file_is_sent() -> None:
    state = Google(large=True)
    content, delivered_at = fetch(f"gdrive:{ID}", state)
    assert content == CONTENT
    assert delivered_at == datetime(2026, 11, 20, 8, 19, 52)  # noqa: DTZ001
    first, second = state.seen
    assert "confirm" not in first
    assert second == {
        "path": "/download",
        "id": ID,
        "export": "download",
        "confirm": "t",
        "uuid": UUID,
    }


def test_an_interrupted_download_of_a_large_file_is_resumed() -> None:
    state = Google(large=True, cut=50_000)
    assert fetch(f"gdrive:{ID}", state)[0] == CONTENT
    assert len(state.seen) == 3, "the rest is asked for without the form"


def test_a_form_that_leads_to_itself_is_an_error() -> None:
    state = Google()
    loop = page("", '<form id="download-form" action="/download"></form>')
    state.page = 200, loop
    refused = refusal(state)
    assert refused.permanent
    assert "pages led to other pages" in str(refused)


@pytest.mark.parametrize("action", ["http://[bad", "http://x:y/download", "file:///etc/passwd"])
def test_a_form_with_an_invalid_action_is_an_error(action: str) -> None:
    form = f'<form id="download-form" action="{action}"></form>'
    assert refusal(Google(page=(200, page("", form)))).permanent


def test_a_form_cannot_leave_the_network_policy() -> None:
    form = '<form id="download-form" action="http://127.0.0.2/download"></form>'
    assert "LFP_ALLOWED_HOSTS" in str(refusal(Google(page=(200, page("", form)))))


@pytest.mark.parametrize("status", [200, 403, 429])
def test_an_exceeded_quota_is_a_transient_error(status: int) -> None:
    state = Google(page=(status, QUOTA))
    refused = refusal(state)
    assert not refused.permanent
    assert "Try again in a day, or make a copy" in str(refused)
    assert len(state.seen) == LIMITS.attempts


@pytest.mark.parametrize(
    "state",
    [
        Google(login=True),
        Google(page=(403, DENIED)),
        Google(page=(200, DENIED)),
        Google(page=(200, NEEDS_ACCESS)),
        Google(page=(401, page("Unauthorized", "Unauthorized"))),
    ],
)
@pytest.mark.parametrize(
    "location", [f"gdrive:{ID}", f"https://docs.google.com/spreadsheets/d/{ID}/edit"]
)
def test_the_error_of_a_private_file_says_how_to_share_it(state: Google, location: str) -> None:
    refused = refusal(state, location)
    assert refused.permanent
    assert "Share the file with anyone who has the link" in str(refused)


@pytest.mark.parametrize("status", [200, 404])
def test_a_missing_file_is_an_error(status: int) -> None:
    refused = refusal(Google(page=(status, MISSING)))
    assert refused.permanent
    assert f"gdrive:{ID} is not there" in str(refused)


def test_other_pages_are_quoted() -> None:
    refused = refusal(Google(page=(200, INFECTED)))
    assert refused.permanent
    assert "this file is infected with a virus" in str(refused)


def test_a_server_error_of_google_is_transient() -> None:
    refused = refusal(Google(page=(502, page("Error 502 (Server Error)!!1", "That's an error."))))
    assert not refused.permanent
    assert "answered 502" in str(refused)


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        (f"/d/{ID}/edit?usp=sharing", {}),
        (f"/d/{ID}/edit#gid=42", {"gid": "42"}),
        (f"/d/{ID}/edit?gid=42#gid=42", {"gid": "42"}),
        (f"/d/{ID}/view?gid=7", {"gid": "7"}),
        (f"/d/{ID}/export?format=csv&gid=0", {"gid": "0"}),
        (f"/d/{ID}/htmlview", {}),
        (f"/d/{ID}/edit?resourcekey={KEY}#gid=1", {"gid": "1", "resourcekey": KEY}),
        (f"/u/1/d/{ID}/edit#gid=x", {}),
    ],
)
def test_a_sheet_is_downloaded_as_csv(link: str, asked: dict[str, str]) -> None:
    state = Google()
    location = f"https://docs.google.com/spreadsheets{link}"
    assert fetch(location, state)[0] == CSV
    assert state.seen[0] == {"path": f"/spreadsheets/d/{ID}/export", "format": "csv"} | asked


def test_two_sheets_of_a_spreadsheet_have_two_names() -> None:
    link = f"https://docs.google.com/spreadsheets/d/{ID}/edit"
    assert source_at(f"{link}#gid=42", LIMITS).name == f"gdrive:{ID}#gid=42"
    assert source_at(link, LIMITS).name == f"gdrive:{ID}"


def test_a_published_sheet_is_an_ordinary_url() -> None:
    link = "https://docs.google.com/spreadsheets/d/e/2PACX-1vR/pub?output=csv"
    assert source_at(link, LIMITS) == HttpFile(link, LIMITS)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (f"https://drive.google.com/drive/folders/{ID}?usp=sharing", "a folder"),
        (f"https://drive.google.com/drive/u/0/folders/{ID}", "a folder"),
        (f"https://drive.google.com/folderview?id={ID}", "a folder"),
        ("https://drive.google.com/drive/my-drive", "a folder"),
        (f"https://docs.google.com/document/d/{ID}/edit", "a document"),
        (f"https://docs.google.com/presentation/d/{ID}/edit", "a document"),
        ("https://drive.google.com/", "names no file"),
        ("https://drive.google.com/open", "names no file"),
        ("https://drive.google.com/uc?id=../../x", "names no file"),
        ("gdrive:", "names no file"),
        ("gdrive:a b", "names no file"),
    ],
)
def test_a_link_to_no_file_is_refused(link: str, message: str) -> None:
    with pytest.raises(LandingError, match=message) as caught:
        source_at(link, LIMITS)
    assert caught.value.permanent


def test_a_path_that_looks_like_an_id_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "gdrive:file.csv"
    path.write_bytes(CSV)
    sink = Bytes()
    source_at(str(path), LIMITS).fetch(sink, lambda _done, _size: None)
    assert sink.content == CSV
