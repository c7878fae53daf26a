"""Web pages that come where a file was expected: told from files, and what they say."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

PAGE_BYTES = 1 << 16
"""So much of a page is read: more than a message needs."""

_MEDIA_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_HTML = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(?:(?><!--.*?-->)\s*)*+<(!doctype\s+html|html|head|title|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_NOT_READ = frozenset({"script", "style"})


@dataclass(frozen=True)
class WebPage:
    """A page.

    Attributes:
        url: where it was found.
        status: with which it came.
        title: empty if there is none.
        text: all that is to be read on it.
        forms: by id, the URL that each form with an id asks for if it is sent as it is.
    """

    url: str
    status: int
    title: str
    text: str
    forms: dict[str, str]


OnPage = Callable[[str, WebPage], str | None]
"""Called with the name of a source and the page that came for it; returns the URL to ask for
instead, or None where the status tells enough. Raises LandingError where the page does."""


def is_html(media_type: str) -> bool:
    """Whether a Content-Type says that a page follows; wrongly, maybe."""
    return media_type.partition(";")[0].strip().lower() in _MEDIA_TYPES


def read_page(content: bytes, url: str, status: int) -> WebPage | None:
    """The page that begins with these bytes, or None: they are not of a page."""
    if not _HTML.match(content):
        return None
    parser = _Parser()
    with suppress(AssertionError):  # Odd markup; what was read before it has to do.
        parser.feed(content.decode(errors="replace"))
    forms = {}
    for name, action in parser.actions.items():
        with suppress(ValueError):  # That is no URL.
            forms[name] = urljoin(url, _with_query(action, parser.fields[name]))
    return WebPage(url, status, _words(parser.title), _words(parser.text), forms)


@dataclass
class _Parser(HTMLParser):
    title: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    actions: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._element = ""
        self._form = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._element = tag
        told = {name: value or "" for name, value in attrs}
        if tag == "form" and "id" in told:
            self._form = told["id"]
            self.actions[self._form] = told.get("action", "")
            self.fields[self._form] = {}
        elif tag == "input" and self._form and told.get("type") == "hidden" and "name" in told:
            self.fields[self._form][told["name"]] = told.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._element = ""
        if tag == "form":
            self._form = ""

    def handle_data(self, data: str) -> None:
        if self._element == "title":
            self.title.append(data)
        elif self._element not in _NOT_READ:
            self.text.append(data)


def _words(pieces: list[str]) -> str:
    return " ".join(" ".join(pieces).split())


def _with_query(action: str, fields: dict[str, str]) -> str:
    parts = urlsplit(action)
    query = "&".join(filter(None, [parts.query, urlencode(fields)]))
    return parts._replace(query=query, fragment="").geturl()
