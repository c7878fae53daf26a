"""Sets of invisible characters: those that are trimmed, make a row blank, or are no text at all.

Each set is given as ranges of code points. It serves as a character class of RE2 (in SQL), as a
set of characters in Python, and, encoded as UTF-8, as a pattern over bytes.
"""

import re
from collections.abc import Iterable

_Ranges = tuple[tuple[int, int], ...]

_LINE_ENDS: _Ranges = ((0x0A, 0x0A), (0x0D, 0x0D))

_WHITE_SPACE: _Ranges = (
    *((0x09, 0x09), (0x0B, 0x0C), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680)),
    *((0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
"""The characters that Python's `str.strip` strips, except line ends."""

_ZERO_WIDTH: _Ranges = (
    *((0xAD, 0xAD), (0x034F, 0x034F), (0x061C, 0x061C), (0x180E, 0x180E), (0x200B, 0x200F)),
    *((0x202A, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF)),
)
"""Default ignorable code points of Unicode that stand alone: joiners, directions, the soft hyphen,
the byte order mark. Selectors and tags belong to the character before them."""

_OTHERS_UNSEEN: _Ranges = (
    *((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x84), (0x86, 0x9F)),  # controls
    *((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3)),
    *((0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)


def _character_class(ranges: Iterable[tuple[int, int]]) -> str:
    """Return a character class of RE2; Python's syntax for code points differs."""
    return "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges) + "]"


_BLANK = _WHITE_SPACE + _ZERO_WIDTH

BLANK = _character_class(_BLANK)
"""Characters of a blank row: all its cells have only these (RE2)."""

TRIMMED = _character_class(_LINE_ENDS + _BLANK)
"""Characters that are trimmed from the ends of sku and name (RE2)."""

UNSEEN = _character_class(_LINE_ENDS + _BLANK + _OTHERS_UNSEEN)
"""Characters of a value without a visible character (RE2)."""

_TRIMMED_CHARACTERS = {
    chr(code) for first, last in _LINE_ENDS + _BLANK for code in range(first, last + 1)
}

_BLANK_BYTES = [
    re.escape(chr(code).encode()) for first, last in _BLANK for code in range(first, last + 1)
]


def blank_bytes(delimiter: bytes) -> bytes:
    """Return a pattern over UTF-8 for white space, without the delimiter, itself a pattern."""
    return rb"(?:" + b"|".join(blank for blank in _BLANK_BYTES if blank != delimiter) + rb")*+"


def without_white_space(text: str) -> str:
    """Return the text without the characters that are trimmed, also inside it."""
    return "".join(character for character in text if character not in _TRIMMED_CHARACTERS)
