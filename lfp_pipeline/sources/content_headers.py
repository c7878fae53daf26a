"""The charset in a Content-Type, and the codings in a Content-Encoding.

Files are requested without a coding, but some servers apply one all the same. A coding that the
reader unpacks, such as gzip, is stored. Deflate has no magic number by which a reader could
recognise it, so it is undone during the download.
"""

import zlib
from collections.abc import Iterator
from email.message import Message

from lfp_pipeline.common.text_codecs import codec_name
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import CHUNK_BYTES

_UNPACKED_LATER = {"gzip", "x-gzip", "zstd", "bzip2", "x-bzip2", "xz", "x-xz"}
_NO_CODINGS = {"", "identity", "none", "binary", "7bit", "8bit", "aws-chunked"}
"""Values that servers send and that change nothing in the bytes."""

_HEADER_BYTES = 2
_LONGEST_NAME = 40


def charset_in(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, by Python's name; None: no known one."""
    message = Message()
    message["Content-Type"] = content_type
    return _codec(message.get_content_charset(""))


def coding_in(content_encoding: str) -> str:
    """Return the codings of a Content-Encoding in canonical form, in the order of application.

    Names of text encodings, which belong into the Content-Type, are omitted.
    """
    names = (name.strip().lower() for name in content_encoding.split(","))
    return ", ".join(name for name in names if name not in _NO_CODINGS and not _codec(name))


def must_inflate(name: str, coding: str) -> bool:
    """Return whether a body with these codings (see `coding_in`) has to be inflated.

    Raises:
        LandingError: a coding is not supported.
    """
    *inner, last = coding.split(", ")
    is_deflated = last == "deflate"
    others = [other for other in (inner if is_deflated else [*inner, last]) if other]
    if _UNPACKED_LATER.issuperset(others):
        return is_deflated
    msg = (
        f"{name} answered with the content coding {coding[:100]!r}, which was not requested and "
        "is not supported. Configure the server to send the file as it is, or with gzip or deflate."
    )
    raise LandingError(msg, permanent=True)


def inflated(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the plain bytes of a deflate stream, zlib or raw, in chunks of bounded size.

    Raises:
        LandingError: the stream is damaged or incomplete. Another attempt may succeed.
    """
    inflater, head = None, b""
    try:
        for piece in pieces:
            head += piece
            if inflater is None and len(head) < _HEADER_BYTES:
                continue
            inflater = inflater or zlib.decompressobj(_window_bits(head))
            packed, head = head, b""
            chunk = bytes(CHUNK_BYTES)
            while not inflater.eof and (packed or len(chunk) == CHUNK_BYTES):
                chunk = inflater.decompress(packed, CHUNK_BYTES)
                packed = inflater.unconsumed_tail
                yield chunk
            if packed or inflater.unused_data:
                raise _damaged(name, "other bytes follow its end")
    except zlib.error as error:
        raise _damaged(name, str(error)) from error
    if inflater is None or not inflater.eof:
        raise _damaged(name, "its end is missing")


def _damaged(name: str, reason: str) -> LandingError:
    msg = f"{name} sent a damaged deflate stream: {reason}."
    return LandingError(msg, permanent=False)


def _window_bits(head: bytes) -> int:
    """Return the `wbits` of a stream that begins so: in the zlib format, or raw."""
    is_wrapped = head[0] & 0x8F == zlib.DEFLATED and int.from_bytes(head[:2]) % 31 == 0
    return zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS


def _codec(charset: str) -> str | None:
    try:
        return codec_name(charset) if 0 < len(charset) <= _LONGEST_NAME else None
    except ValueError:
        return None
