"""Conditional and range requests, by RFC 9110."""

import re
from email.message import Message
from email.utils import parsedate_to_datetime

from examples.feed_server.shop import Version

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


def is_known(version: Version, headers: Message) -> bool:
    """Whether the client has this version already."""
    tags = headers.get("If-None-Match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return not known.isdisjoint({version.etag, "*"})
    try:
        since = parsedate_to_datetime(headers.get("If-Modified-Since", ""))
        return parsedate_to_datetime(version.last_modified) <= since
    except (ValueError, TypeError):  # No date, or a date without a zone.
        return False


def wanted_bytes(version: Version, headers: Message) -> range | None:
    """Return the requested bytes; empty if the file has none of them.

    Return None for no range, several ranges, or a range of another version: all bytes are sent.
    """
    found = _RANGE.fullmatch(headers.get("Range", ""))
    condition = headers.get("If-Range", version.etag)
    if found is None or condition not in {version.etag, version.last_modified}:
        return None
    first, last, suffix = found.groups()
    if suffix:
        return range(max(version.size - int(suffix), 0), version.size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, version.size) if last else version.size)
