"""Decides how a text is encoded: by its bytes, and by what its source and the settings say."""

from dataclasses import dataclass

from lfp_pipeline.common.text_codecs import encoding_label
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.reading.encoding import detect_encoding, extends_ascii, with_byte_order

_UTF_8 = "utf-8"


@dataclass(frozen=True)
class TextEncoding:
    """How a text is encoded.

    Attributes:
        codec: Python's name.
        mark_length: of the byte order marks at its beginning.
        certain: whether that is so whatever bytes follow.
        note: for people, who said so, if it was not the text itself.
    """

    codec: str
    mark_length: int = 0
    certain: bool = True
    note: str = ""


def encoding_by_head(head: bytes, text_format: TextFormat) -> TextEncoding:
    """Return the encoding of a text as far as its first bytes and the sources file decide it.

    A byte order mark comes first, then the sources file, then UTF-16 that has no mark.
    """
    codec, mark_length = detect_encoding(head)
    if mark_length == 0 and text_format.encoding:
        declared = text_format.encoding
        return TextEncoding(with_byte_order(declared, head), note=_note(declared, "sources file"))
    return TextEncoding(codec, mark_length, certain=codec != _UTF_8 or mark_length > 0)


def other_encoding(
    head: bytes, beyond_ascii: tuple[int, int], charset: str | None, fallback: str | None
) -> TextEncoding | None:
    """Return the encoding of a text that does not say how it is encoded; None: it is UTF-8.

    Another encoding is taken for a text that is in earnest not UTF-8, and not by a few slips only.
    A server is also believed where all bytes are ASCII, if they mean something else to it.

    Args:
        head: its first bytes.
        beyond_ascii: how many valid UTF-8 characters and how many other bytes are in it.
        charset: what the server says.
        fallback: what the setting says.
    """
    characters, others = beyond_ascii
    # ASCII bytes of such an encoding have escape sequences or zero bytes among them.
    escaped = any(mark in head for mark in (b"\x1b", b"~{", b"\0"))
    is_ascii = characters == others == 0 and escaped
    if (
        charset
        and charset != _UTF_8
        and (others > characters or (is_ascii and not extends_ascii(charset)))
    ):
        return TextEncoding(with_byte_order(charset, head), note=_note(charset, "server"))
    if fallback and fallback != _UTF_8 and others > characters:
        note = _note(fallback, "setting LFP_FALLBACK_ENCODING")
        return TextEncoding(with_byte_order(fallback, head), note=note)
    return None


def _note(codec: str, said_by: str) -> str:
    return "" if codec == _UTF_8 else f"Read as {encoding_label(codec)} ({said_by})."
