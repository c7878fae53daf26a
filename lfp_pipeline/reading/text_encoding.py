"""The encoding of a text, decided by its bytes, its source and the settings."""

from dataclasses import dataclass

from lfp_pipeline.common.text_codecs import encoding_label
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.reading.encoding import detect_encoding, extends_ascii, with_byte_order

_UTF_8 = "utf-8"


@dataclass(frozen=True)
class TextEncoding:
    """The encoding of a text.

    Attributes:
        codec: Python's name.
        mark_length: length of the byte order marks at its beginning, in bytes.
        certain: whether the encoding is decided whatever bytes follow.
        notes: a sentence for people that names who stated the encoding; none: the text itself.
    """

    codec: str
    mark_length: int = 0
    certain: bool = True
    notes: tuple[str, ...] = ()


def encoding_by_head(head: bytes, text_format: TextFormat) -> TextEncoding:
    """Return the encoding of a text as far as its first bytes and the sources file decide it.

    A byte order mark overrides the sources file, and both override the signs of UTF-16 without a
    mark.
    """
    codec, mark_length = detect_encoding(head)
    if mark_length == 0 and text_format.encoding:
        declared = text_format.encoding
        return _stated(declared, "sources file", head)
    return TextEncoding(codec, mark_length, certain=codec != _UTF_8 or mark_length > 0)


def other_encoding(
    head: bytes, beyond_ascii: tuple[int, int], charset: str | None, fallback: str | None
) -> TextEncoding | None:
    """Return the encoding of a text whose own bytes state none; None: the text is UTF-8.

    `beyond_ascii` has the number of valid UTF-8 characters beyond ASCII, and that of invalid bytes.
    With more of the latter, the text is not UTF-8. If all bytes are ASCII, the charset of a server
    still counts where it gives them another meaning.
    """
    characters, others = beyond_ascii
    # In such an encoding, ASCII bytes include escape sequences or zero bytes.
    escaped = any(mark in head for mark in (b"\x1b", b"~{", b"\0"))
    is_ascii = characters == others == 0 and escaped
    is_other = others > characters
    if charset and charset != _UTF_8 and (is_other or (is_ascii and not extends_ascii(charset))):
        return _stated(charset, "server", head)
    if fallback and fallback != _UTF_8 and is_other:
        return _stated(fallback, "setting LFP_FALLBACK_ENCODING", head)
    return None


def _stated(codec: str, said_by: str, head: bytes) -> TextEncoding:
    notes = () if codec == _UTF_8 else (f"Read as {encoding_label(codec)} ({said_by}).",)
    return TextEncoding(with_byte_order(codec, head), notes=notes)
