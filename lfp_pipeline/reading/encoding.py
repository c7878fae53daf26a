"""Every file becomes UTF-8 before it is read."""

import codecs
import re
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BROKEN_TAIL = b"\xff"
_PIECE_BYTES = 1 << 20
_NOT_FIRST_OF_SEVERAL = bytes(range(0xC0))

# A pattern, because a decoder copies all that it was given into each error that it raises.
_UTF8 = re.compile(
    rb"(?:[\x00-\x7f]++|[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)


def detect_encoding(head: bytes) -> tuple[str, int]:
    """The encoding of a file from its first bytes, and the length of its byte order mark.

    UTF-16 without a mark is told by the zero bytes of its first characters, which are ASCII.
    """
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding, len(mark)
    if b"\0" in head:
        even, odd = head[0:8:2], head[1:8:2]
        if not any(odd) and all(even):
            return "utf-16-le", 0
        if not any(even) and all(odd):
            return "utf-16-be", 0
    return "utf-8", 0


def to_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Recode a stream of bytes. What cannot be decoded stays invalid, and is rejected later."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:  # A character was cut off at the end of the file.
        yield _BROKEN_TAIL


def invalid_utf8_offsets(path: Path, start: int = 0) -> Iterator[int]:
    """Where a file is not UTF-8: the offset of each invalid sequence, in order."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        position = start
        while True:
            valid = _UTF8.match(buffer, position)
            position = valid.end() if valid else position
            if position >= len(buffer):
                return
            yield position
            position += 1


def beyond_ascii(path: Path) -> tuple[int, int]:
    """What of a file is not ASCII: how many valid UTF-8 characters, how many other bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    characters = others = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            valid = decoder.decode(piece).encode()
            characters += len(valid.translate(None, _NOT_FIRST_OF_SEVERAL))
            others += len(piece) - len(valid)
    return characters, others
