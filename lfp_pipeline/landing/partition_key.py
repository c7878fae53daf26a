"""Partition keys: the name of a source file in characters that every part of Dagster can take."""

import hashlib
import re
from functools import lru_cache

MAX_LENGTH = 120

PURGES = "purges"
"""Of deletions, which come from no source."""

_DIGEST_LENGTH = 16
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIGEST = re.compile(rf"-[0-9a-f]{{{_DIGEST_LENGTH}}}")


@lru_cache(maxsize=1 << 16)  # A sensor asks again and again.
def partition_key(name: str) -> str:
    """The key of a source file, from its path inside the inbox.

    A plain file name is its own key. Anything else is spelled with safe characters and a digest of
    the whole name, so that two files never share a key.
    """
    if is_partition_key(name) and not is_spelled(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    spelled = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "_", name)).lstrip(".-")
    return f"{spelled[: MAX_LENGTH - _DIGEST_LENGTH - 1] or '_'}-{digest}"


def key_hint(text: str) -> str:
    """Say which partition a file has whose name was given as a key; nothing, if it may be a key."""
    if not text or is_partition_key(text):
        return ""
    return f" A file of that name has the partition {partition_key(text)}."


def is_spelled(key: str) -> bool:
    """Whether a key spells a name in other characters, as far as it shows."""
    end = key[-_DIGEST_LENGTH - 1 :]
    return end.startswith("-") and _DIGEST.fullmatch(end) is not None


def is_purge(delivery_id: str) -> bool:
    """Whether the delivery of that id is a purge."""
    return delivery_id.startswith(f"{PURGES}#")


def is_partition_key(text: str) -> bool:
    """Whether a text can be a key as it is: safe characters, no `...`, not too long."""
    return len(text) <= MAX_LENGTH and ".." not in text and bool(_SAFE.fullmatch(text))
