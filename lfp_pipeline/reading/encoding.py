"""Encodings: their detection, the recoding of every file to UTF-8, and the check of UTF-8."""

import codecs
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lfp_pipeline.reading.records import mapped

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # This mark begins with that of UTF-16.
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_INVALID = b"\xff"
_INVALID_ESCAPED = "\udcff"
_MARK_INVALID = "lfp_pipeline.mark_invalid"
_LINE_ENDS = b"\r\n"

_OF_WINDOWS = {"cp874", *(f"cp{number}" for number in range(1250, 1259))}
_C1_CONTROLS = range(0x80, 0xA0)
_UNDEFINED = "\ufffe"
"""Stands for an undefined byte in a table of characters."""

_MAX_PENDING_BYTES = 1 << 16
"""A sequence of bytes that has no end by then is invalid."""

_PIECE_BYTES = 1 << 20
_NOT_FIRST_OF_SEVERAL = bytes(range(0xC0))

# A pattern is used because a decoder copies its whole input into each error that it raises.
_UTF8 = re.compile(
    rb"(?:[\x00-\x7f]++|[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
)


def detect_encoding(head: bytes) -> tuple[str, int]:
    """Return the encoding of a file from its first bytes, and the length of its byte order marks.

    Several marks in a row count as one. UTF-16 without a mark shows by the zero bytes of its first
    characters, which are ASCII.
    """
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            length = len(mark)
            while head.startswith(mark, length):
                length += len(mark)
            return encoding, length
    if b"\0" in head:
        even, odd = head[0:8:2], head[1:8:2]
        if not any(odd) and all(even):
            return "utf-16-le", 0
        if not any(even) and all(odd):
            return "utf-16-be", 0
    return "utf-8", 0


def with_byte_order(encoding: str, head: bytes) -> str:
    """Return an encoding with its byte order, as the first bytes show it: `utf-16-le`."""
    if encoding == "utf-16":
        return "utf-16-be" if detect_encoding(head)[0] == "utf-16-be" else "utf-16-le"
    if encoding == "utf-32":  # No character has more than three bytes that are not zero.
        return "utf-32-be" if head.startswith(b"\0") else "utf-32-le"
    return encoding


@cache
def extends_ascii(encoding: str) -> bool:
    """Return whether the bytes of ASCII mean the same in an encoding, whatever is around them."""
    ascii_bytes = bytes(range(0x80)) + b"\x1b$B!!\x1b(B"  # To ISO-2022-JP, that is a character.
    try:
        return ascii_bytes.decode(encoding) == ascii_bytes.decode("ascii")
    except UnicodeDecodeError:
        return False


def to_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a stream of bytes recoded to UTF-8.

    A sequence that cannot be decoded becomes an invalid byte, so that only its record is rejected.
    Line ends within the sequence remain.
    """
    if encoding in _OF_WINDOWS:
        table = _table(encoding)
        for piece in pieces:
            text, _ = codecs.charmap_decode(piece, _MARK_INVALID, table)
            yield text.encode("utf-8", _MARK_INVALID)
        return
    errors = "surrogatepass" if encoding.startswith("utf-16") else _MARK_INVALID
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", errors)
        if len(decoder.getstate()[0]) > _MAX_PENDING_BYTES:
            yield _INVALID
            decoder.reset()
    if encoding.startswith("utf-16"):
        if decoder.getstate()[0]:  # A character was cut off at the end of the file.
            yield _INVALID
    else:
        yield decoder.decode(b"", final=True).encode("utf-8", errors)


@cache
def _table(encoding: str) -> str:
    """Return the characters of all 256 bytes of an encoding of Windows.

    Undefined bytes from 0x80 to 0x9f are control characters, as in the WHATWG standard.
    """
    characters = bytes(range(256)).decode(encoding, "replace")
    return "".join(
        (chr(byte) if byte in _C1_CONTROLS else _UNDEFINED) if character == "\ufffd" else character
        for byte, character in enumerate(characters)
    )


def _mark_invalid(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return an invalid byte in place of a sequence that cannot be decoded or encoded."""
    if isinstance(error, UnicodeEncodeError):  # Surrogates: our own, or those of the file.
        return _INVALID * (error.end - error.start), error.end
    if isinstance(error, UnicodeDecodeError):
        wide = error.encoding.startswith("utf-32")
        bad = b"" if wide else error.object[error.start : error.end]
        line_ends = bytes(byte for byte in bad if byte in _LINE_ENDS).decode()
        return _INVALID_ESCAPED + line_ends, error.end
    raise error


codecs.register_error(_MARK_INVALID, _mark_invalid)


def is_utf8(head: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8; its last character may be cut off."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def invalid_utf8_offsets(path: Path, start: int = 0) -> Iterator[int]:
    """Yield the offset of each sequence of a file that is not UTF-8, in order."""
    with mapped(path) as buffer:
        position = start
        while True:
            valid = _UTF8.match(buffer, position)
            position = valid.end() if valid else position
            if position >= len(buffer):
                return
            yield position
            position += 1


def beyond_ascii(path: Path) -> tuple[int, int]:
    """Return the numbers of valid UTF-8 characters beyond ASCII, and of other bytes, in a file."""
    with path.open("rb") as file:
        return beyond_ascii_in(iter(lambda: file.read(_PIECE_BYTES), b""))


def beyond_ascii_in(pieces: Iterable[bytes]) -> tuple[int, int]:
    """Return the numbers of valid characters beyond ASCII, and of other bytes, in a stream."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    characters = others = 0
    for piece in pieces:
        valid = decoder.decode(piece).encode()
        characters += len(valid.translate(None, _NOT_FIRST_OF_SEVERAL))
        others += len(piece) - len(valid)
    return characters, others
