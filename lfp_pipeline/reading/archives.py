"""Archives that are not unpacked, told by name or by their first bytes."""

import re

from lfp_pipeline.reading.compression import COMPRESSIONS

HEAD_BYTES = 265
"""So many bytes are needed to tell: those of a tar are late."""

_KINDS = (
    ("zip", re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)")),
    *((compression.name, compression.magic) for compression in COMPRESSIONS),
    ("lz4", re.compile(rb"\x04\x22\x4d\x18")),
    ("compress", re.compile(rb"\x1f\x9d")),
    ("7z", re.compile(rb"7z\xbc\xaf\x27\x1c")),
    ("RAR", re.compile(rb"Rar!\x1a\x07")),
    ("tar", re.compile(rb"[\0-\xff]{257}ustar(?:\0|  \0)")),
)

_NAMED = re.compile(
    r"\.(?:zip|zipx|gz|gzip|tgz|zst|tzst|bz2|tbz2?|xz|txz|lzma|lz4?|z|7z|rar|tar|cab|arj|jar"
    r"|xlsx|ods)$",
    re.IGNORECASE,
)


def archive_kind(head: bytes) -> str | None:
    """Which archive begins with these bytes, if one does."""
    return next((kind for kind, magic in _KINDS if magic.match(head)), None)


def is_named_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return _NAMED.search(name) is not None
