"""Recognize unfinished uploads: they end inside a record, and the next version begins with them."""

import hashlib
from mmap import ACCESS_READ, mmap
from pathlib import Path

_CHUNK_BYTES = 1 << 24
_LINE_ENDS = b"\r\n"
_BEFORE_A_VALUE = b",;|\t\r\n"


class PrefixDigest:
    """The sha256 of the first bytes of a stream, as many as an earlier version has."""

    def __init__(self, size: int) -> None:
        self.remaining = size
        self.digest = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        """Add the next bytes of the stream."""
        if self.remaining:
            self.digest.update(chunk[: self.remaining])
            self.remaining -= min(self.remaining, len(chunk))

    def hexdigest(self) -> str | None:
        """Return the digest; None if the stream is shorter."""
        return None if self.remaining else self.digest.hexdigest()


def ends_inside_a_record(size: int, whole: Path) -> bool:
    """Return whether the first bytes of a file end inside a record: in a line or in quotes."""
    with whole.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        last = buffer[max(size - 4, 0) : size].rstrip(b"\0")[-1:]
        after = buffer[size : size + 4].lstrip(b"\0")[:1]
        if last not in _LINE_ENDS and after not in _LINE_ENDS:
            return True
        return _ends_in_quotes(buffer, size)


def _ends_in_quotes(buffer: mmap, size: int) -> bool:
    """Return whether the number of quotes is odd, and the last one opens a value.

    A quote that opens no value may be an inch mark. Two quotes in a row are one character.
    """
    quotes = sum(
        buffer[at : min(at + _CHUNK_BYTES, size)].count(b'"') for at in range(0, size, _CHUNK_BYTES)
    )
    if quotes % 2 == 0:
        return False
    quote = buffer.rfind(b'"', 0, size)
    while quote > 1 and buffer[quote - 1 : quote] == b'"':
        quote = buffer.rfind(b'"', 0, quote - 1)
    before = buffer[max(quote - 1, 0) : quote]
    return quote >= 0 and (not before or before in _BEFORE_A_VALUE)
