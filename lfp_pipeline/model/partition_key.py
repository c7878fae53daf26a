"""Partition keys: names of source files in characters that every part of Dagster accepts."""

import hashlib
import re
from functools import lru_cache

MAX_LENGTH = 120

PURGES = "purges"
"""The key of purges, which come from no source file."""

_DIGEST_LENGTH = 16
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIGEST = re.compile(rf"-[0-9a-f]{{{_DIGEST_LENGTH}}}")


@lru_cache(maxsize=1 << 16)  # Each tick of a sensor needs the keys of all files.
def partition_key(name: str) -> str:
    """Return the key of a source file, from its path inside the inbox.

    A plain file name is its own key. Any other name becomes safe characters and a digest of the
    whole name, so that two files never share a key.
    """
    if is_partition_key(name) and not is_derived(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    safe = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "_", name)).lstrip(".-")
    return f"{safe[: MAX_LENGTH - _DIGEST_LENGTH - 1] or '_'}-{digest}"


def file_name(key: str, source: str) -> str:
    """Return the name of a source file, as people know it, from its key and its source.

    A derived key does not show the name, but the end of the source does, if the digest is of it.
    """
    if not is_derived(key):
        return key
    parts = source.split("/")
    names = ("/".join(parts[number:]) for number in range(len(parts)))
    # An unprintable name is escaped in the source, so its digest differs.
    escaped = parts[-1] if source.startswith("/") else key
    return next((name for name in names if name and partition_key(name) == key), escaped)


def typed_name(key: str, source: str) -> str:
    """Return the name of a source file for a command: its key, if the name is not printable."""
    name = file_name(key, source)
    return name if partition_key(name) == key else key


def key_hint(text: str) -> str:
    """Return a hint with the key of a file whose name was given instead; empty for a valid key."""
    if not text or is_partition_key(text):
        return ""
    return f" A file of that name has the partition {partition_key(text)}."


def is_derived(key: str) -> bool:
    """Return whether a key looks like one that was derived from a name with a digest."""
    end = key[-_DIGEST_LENGTH - 1 :]
    return end.startswith("-") and _DIGEST.fullmatch(end) is not None


def is_purge(delivery_id: str) -> bool:
    """Return whether the delivery with that id is a purge."""
    return delivery_id.startswith(f"{PURGES}#")


def is_partition_key(text: str) -> bool:
    """Return whether a text is a valid key: safe characters, no `..`, not too long."""
    return len(text) <= MAX_LENGTH and ".." not in text and bool(_SAFE.fullmatch(text))
