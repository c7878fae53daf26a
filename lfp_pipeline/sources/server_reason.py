"""The reason that a server gives for an error, in the body of its answer."""

import html
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.content_headers import charset_in
from lfp_pipeline.sources.redaction import one_line

_MAX_BYTES = 4096
_SECONDS = 5.0

_JSON_NAMES = ("message", "error_description", "detail", "title", "error", "errors", "reason")
_JSON_DEPTH = 4
_ELEMENTS = ("message", "faultstring", "error_description", "description", "detail", "title", "h1")
_ELEMENT = re.compile(
    rf"<(?:\w+:)?({'|'.join(_ELEMENTS)})\b[^>]*>(?:<!\[CDATA\[)?([^<]*)<", re.IGNORECASE
)


def reason_of(response: httpx.Response, content: Iterator[bytes], url: str) -> str:
    """Return a server's reason for an error on one line without secrets; empty without one.

    Args:
        content: the body, of which at most the beginning is read.
        url: the first requested URL, whose secrets the reason may repeat.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return ""
    body = _beginning(content)
    if b"\0" in body:
        return ""
    charset = charset_in(response.headers.get("Content-Type", "")) or "utf-8"
    return one_line(_reason_in(body.decode(charset, errors="replace")), url, str(response.url))


def _beginning(content: Iterator[bytes]) -> bytes:
    """Return the beginning of a body, as far as the server sends it in time."""
    deadline = time.monotonic() + _SECONDS
    body = b""
    with suppress(httpx.HTTPError, LandingError):  # The reason is optional.
        for piece in content:
            body += piece
            if len(body) > _MAX_BYTES or time.monotonic() > deadline:
                break
        else:
            return body
    # The last word is cut: half a secret would not be recognised.
    words = body[:_MAX_BYTES].rsplit(None, 1)
    return words[0] if len(words) > 1 else b""


def _reason_in(text: str) -> str:
    with suppress(ValueError, RecursionError):
        return _in_json(json.loads(text))
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        found = {
            name.lower(): html.unescape(value.replace("]]>", "")).strip()
            for name, value in reversed(_ELEMENT.findall(text))
        }
        return next((found[name] for name in _ELEMENTS if found.get(name)), "")
    return next(filter(None, map(_stripped, text.splitlines())), "")


def _in_json(value: object, depth: int = 0) -> str:
    """Return the reason in a JSON value: the member under the first known name that has one."""
    if depth > _JSON_DEPTH:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _in_json(value[0], depth + 1) if value else ""
    if not isinstance(value, dict):
        return ""
    members = {name.lower(): member for name, member in value.items()}
    reasons = (_in_json(members.get(name), depth + 1) for name in _JSON_NAMES)
    return next(filter(None, reasons), "")


def _stripped(line: str) -> str:
    is_text = any(character.isprintable() and not character.isspace() for character in line)
    return line.strip() if is_text else ""
