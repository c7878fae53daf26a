"""Web pages that servers send instead of a file: detection, text and forms."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

PAGE_BYTES = 1 << 16
"""Bytes of a page that are read, which is more than a message needs."""

_MEDIA_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_HTML = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(?:(?><!--.*?-->)\s*)*+<(!doctype\s+html|html|head|title|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_NOT_READ = frozenset({"script", "style"})


@dataclass(frozen=True)
class WebPage:
    """A web page.

    Attributes:
        title: title of the page; empty without one.
        text: visible text of the page.
        forms: for each form with an id, the URL that sending the unchanged form requests.
    """

    url: str
    status: int
    title: str
    text: str
    forms: dict[str, str]


OnPage = Callable[[str, WebPage], str | None]
"""Called with the name of a source and the page that came instead of its file. Returns the URL to
request instead; None: the status says enough. Raises LandingError if the page says why."""


def is_html(media_type: str) -> bool:
    """Return whether a Content-Type declares a web page."""
    return media_type.partition(";")[0].strip().lower() in _MEDIA_TYPES


def read_page(content: bytes, url: str, status: int) -> WebPage | None:
    """Return the web page that begins with some bytes; None: they are no web page."""
    if not _HTML.match(content):
        return None
    parser = _Parser()
    with suppress(AssertionError):  # Invalid markup: the text before it is enough.
        parser.feed(content.decode(errors="replace"))
    forms = {}
    for name, action in parser.actions.items():
        with suppress(ValueError):  # The action is no URL.
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
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and "id" in values:
            self._form = values["id"]
            self.actions[self._form] = values.get("action", "")
            self.fields[self._form] = {}
        elif tag == "input" and self._form and values.get("type") == "hidden" and "name" in values:
            self.fields[self._form][values["name"]] = values.get("value", "")

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
