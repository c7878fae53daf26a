"""Removal of credentials from URLs, and from the texts of servers and clients."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import LandingError

_HIDDEN = "***"
_MAX_CHARACTERS = 200
_MAX_READ = 4096
_CUT = " [...]"

_NAMES: ContextVar[Mapping[str, str]] = ContextVar("names")
"""For each value, the name that the current block shows instead."""

_ANYWHERE = 4
"""Secrets of at least this length are removed inside other words, too."""

_URL_USER = re.compile(r"(?<=://)[^/]*@")
_NO_PORT = re.compile(r"(?<=://)(?!arn:)([^/:;\[]*)(?:;|:(?!(?:\d|\$\{\w+\})*(?:/|$)))[^/]*")
"""A host, or the name of a bucket, with a text after it that is no port."""
_PARAMETERS = re.compile(";[^/]*")
_USER = re.compile(r"(?<![^\s<>\"'])(\w+://)?[^\s<>\"']*@")
_QUERY = re.compile(r"(?<=\S)[?#][^\s<>\"')]+|(?<!\S)\?[^\s<>\"')]+")
_SCHEMES = re.compile(
    r"\b(bearer|basic|negotiate)\s+(?!(?:auth\w*|token|access|realm|credentials?|error)\b)"
    r"[^\s,;\"'<>]+",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)*|\b(?:AKIA|ASIA)[A-Z0-9]{12,}")
_NAMED = re.compile(
    r"(?P<name>(?:sig|signature|token|key|keyid|secret|password|passwd|pwd|passphrase|credentials?"
    r"|authorization|cookie|sess(?:ion)?id)[\"']?\s*[=:]\s*)"
    r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s,;&\"'<>]+)",
    re.IGNORECASE,
)


@contextmanager
def redacting(names: Mapping[str, str]) -> Iterator[None]:
    """Replace values by their names within the block, longer values first.

    This applies to the texts that `one_line` returns, and to landing errors that leave the block.
    """
    token = _NAMES.set(names)
    try:
        yield
    except LandingError as error:
        error.args = (_with_names(str(error)),)
        raise
    finally:
        _NAMES.reset(token)


def _with_names(text: str) -> str:
    """Return a text with names in place of values, in every spelling that servers use.

    All values are replaced at once, because a value may be part of the name of another one.
    """
    spelled = [
        (spelling, name)
        for value, name in _NAMES.get({}).items()
        for spelling in {*_spellings(value), printable(value)}
        if spelling
    ]
    if not spelled:
        return text
    spelled.sort(key=lambda pair: len(pair[0]), reverse=True)
    names = [name for _, name in spelled]
    pattern = "|".join(f"({_pattern(spelling)})" for spelling, _ in spelled)
    return re.sub(
        pattern, lambda found: names[(found.lastindex or 1) - 1], text, flags=re.IGNORECASE
    )


def one_line(text: str, *urls: str) -> str:
    """Return the beginning of a server's text on one line, without secrets, those of URLs too."""
    characters = (character if character.isprintable() else " " for character in text[:_MAX_READ])
    words = "".join(characters).split()
    if len(text) > _MAX_READ:
        del words[-1:]  # Half a secret would not be recognised.
    line = _redacted(" ".join(words), urls)
    if len(line) <= _MAX_CHARACTERS:
        return line
    return line[: _MAX_CHARACTERS - len(_CUT)] + _CUT


def _redacted(text: str, urls: Iterable[str]) -> str:
    """Return a text without credentials.

    Values that `redacting` hides become names. Removed are the user, password, query values and
    fragment of the given URLs, in every spelling that servers use; user and query of any other URL;
    tokens; and values of names such as `Signature=` and `token:`.
    """
    text = _with_names(text)
    secrets = {spelling for url in urls for secret in _secrets_in(url) for spelling in secret}
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(_pattern(secret), _HIDDEN, text, flags=re.IGNORECASE)
    text = _QUERY.sub("", _USER.sub(r"\1", text))
    text = _SCHEMES.sub(rf"\1 {_HIDDEN}", text)
    text = _TOKENS.sub(_HIDDEN, text)
    return _NAMED.sub(rf"\g<name>{_HIDDEN}", text)


def _secrets_in(url: str) -> Iterator[set[str]]:
    """Yield the spellings of each secret of a URL; none for an invalid URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    userinfo = parts.netloc.rpartition("@")[0]
    values = [pair.partition("=") for pair in re.split("[&;]", parts.query)]
    # A field of a query without a name is a value.
    queried = [value if equals else name for name, equals, value in values]
    for secret in {userinfo, *userinfo.split(":", 1), *queried, parts.query, parts.fragment}:
        yield set(filter(None, _spellings(secret)))
    yield {base64.b64encode(unquote(userinfo).encode(errors="replace")).decode()} - {""}


def _spellings(secret: str) -> Iterator[str]:
    for decoded in {secret, unquote(secret), unquote_plus(secret)}:
        yield decoded
        yield quote(decoded, safe="", errors="replace")
        yield quote_plus(decoded, errors="replace")
        yield html.escape(decoded)
        yield json.dumps(decoded)[1:-1]
        yield " ".join(decoded.split())


def _pattern(secret: str) -> str:
    found = re.escape(secret)
    return rf"(?<!\w){found}(?!\w)" if len(secret) < _ANYWHERE else found


def public_url(url: str) -> str:
    """Return a URL to be shown and stored: no user, password, parameters, query or fragment.

    In an object store, a semicolon is part of the name of an object.
    """
    path = _URL_USER.sub("", re.split("[?#]", url, maxsplit=1)[0])
    path = _NO_PORT.sub(r"\1...", path)
    return printable(_PARAMETERS.sub("", path) if path[:4].lower() == "http" else path)
