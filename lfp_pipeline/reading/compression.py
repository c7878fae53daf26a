"""Compressed streams: gzip, zstd, bz2, xz, and the deflate in a zip, all undone in the same way."""

import bz2
import lzma
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from isal import igzip_lib

from lfp_pipeline.landing.sources import CHUNK_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC_BYTES = 6

# Its type hints say that it is an error, not a class of them.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)

DAMAGED = (OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError, _IsalError)
"""What undoing a damaged stream may raise. For bz2, an OSError without a number."""

_PACKED_BYTES = 1 << 15
_HEAD_BYTES = 1 << 10
_DICTIONARY_BYTES = 256 << 20


class Decompressor(Protocol):
    """What the standard library's decompressors are, and others like them."""

    @property
    def eof(self) -> bool:
        """Whether the stream came to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether all of the input was used up."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Undo some more of the stream."""


@dataclass(frozen=True)
class Compression:
    """A way to compress one file: what it begins with, and what undoes it."""

    magic: re.Pattern[bytes]
    decompressor: Callable[[], Decompressor]


_COMPRESSIONS = (
    Compression(
        re.compile(rb"\x1f\x8b"),
        lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    ),
    # The second kind is a frame that is to be skipped.
    Compression(re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), zstd.ZstdDecompressor),
    Compression(re.compile(rb"BZh[1-9](?:1A|\x17\x72)"), bz2.BZ2Decompressor),
    Compression(
        re.compile(rb"\xfd7zXZ\0"),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY_BYTES),
    ),
)


def compression_of(magic: bytes) -> Compression | None:
    """How a file that begins with these bytes is compressed, if it is."""
    return next((one for one in _COMPRESSIONS if one.magic.match(magic)), None)


def inflater() -> Decompressor:
    """What undoes the deflate in a zip."""
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)


def packed_pieces(file: BinaryIO, size: int = -1) -> Iterator[bytes]:
    """The next `size` bytes of a file, or all that are left, in small pieces.

    A small piece cannot unpack to very much at once.
    """
    left = size
    while piece := file.read(_PACKED_BYTES if size < 0 else min(_PACKED_BYTES, left)):
        left -= len(piece)
        yield piece


def unpack(packed: Iterator[bytes], decompressor: Callable[[], Decompressor]) -> Iterator[bytes]:
    """The plain bytes of streams that follow one another, perhaps with zeros between them.

    Raises:
        EOFError: the last stream is not whole.
        DAMAGED: one is damaged.
    """
    stream: Decompressor | None = None
    for piece in packed:
        rest = piece
        while rest := rest if stream else rest.lstrip(b"\0"):
            if stream is None and len(rest) < _HEAD_BYTES:
                rest += next(packed, b"")  # isal loses its way in a header that is cut in two.
            stream = stream or decompressor()
            yield stream.decompress(rest, CHUNK_BYTES)
            while not (stream.eof or stream.needs_input):
                yield stream.decompress(b"", CHUNK_BYTES)
            if not stream.eof:
                break
            rest, stream = stream.unused_data, None
    if stream:
        msg = "its end is missing"
        raise EOFError(msg)
