"""Decompression of streams: gzip, zstd, bz2, xz, and the deflate in a zip, with one interface."""

import bz2
import lzma
import os
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO, Protocol, cast

from isal import igzip_lib

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.reading.file_formats import PACKED
from lfp_pipeline.sources.base import CHUNK_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC_BYTES = 6

# Its type hints declare an instance of an error, not a class.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)

DAMAGED = (OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError, _IsalError)
"""Errors of decompressing a damaged stream. That of bz2 is an OSError without a number."""

MAX_JUNK_BYTES = 64 << 10
"""Most bytes after a complete stream that are ignored, such as a signature or a line of a log.

A damaged part of a product file is seldom so small.
"""

_PACKED_BYTES = 1 << 15
_HEAD_BYTES = 1 << 10
_DICTIONARY_BYTES = 256 << 20
_PADDING = b"\0\r\n"
"""Bytes that tape drives, FTP clients in text mode, and editors append to a file."""


class Decompressor(Protocol):
    """The interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether all input was used."""

    @property
    def unused_data(self) -> bytes:
        """Bytes after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return the next plain bytes of the stream."""


@dataclass(frozen=True)
class Compression:
    """A way to compress a file.

    Attributes:
        name: its name in `PACKED`, and for people.
        begin: first bytes of a stream that contains data.
        decompressor: makes the decompressor of one stream.
    """

    name: str
    begin: bytes
    decompressor: Callable[[], Decompressor]

    def begins(self, data: bytes) -> bool:
        """Return whether `data` begins with a stream, even one cut off after its first byte."""
        size = min(len(data), len(self.begin))
        return data[:size] == self.begin[:size] or PACKED[self.name].match(data) is not None


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b", partial(igzip_lib.IgzipDecompressor, igzip_lib.DECOMP_GZIP)),
    Compression("zstd", b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
    Compression("bzip2", b"BZh", bz2.BZ2Decompressor),
    Compression(
        "xz", b"\xfd7zXZ\0", partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _DICTIONARY_BYTES)
    ),
)


def compression_of(magic: bytes) -> Compression | None:
    """Return the compression of a file with these first bytes; None: it is not compressed."""
    found = (known for known in COMPRESSIONS if PACKED[known.name].match(magic))
    return next(found, None)


def packed_pieces(file: BinaryIO, size: int = -1) -> Iterator[bytes]:
    """Yield the next `size` bytes of a file, or all remaining ones, in small pieces.

    The plain bytes of a small piece fit into memory.
    """
    remaining = size
    while piece := file.read(_PACKED_BYTES if size < 0 else min(_PACKED_BYTES, remaining)):
        remaining -= len(piece)
        yield piece


def peek(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first `size` bytes of a stream or more, and the whole stream.

    A shorter stream gives all of its bytes. Afterwards, the pieces read ahead are missing from
    `pieces`.
    """
    head = b""
    while len(head) < size and (piece := next(pieces, None)) is not None:
        head += piece
    return head, chain([head], pieces)


def inflate(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the plain bytes of one stream of deflate, as in a zip; without input, nothing.

    Raises:
        DAMAGED: the stream is damaged, or its end is missing.
    """
    head, packed = peek(packed, 1)
    if head:
        yield from _stream(igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE), packed)


def unpack(file: BinaryIO, compression: Compression, notes: list[str]) -> Iterator[bytes]:
    """Yield the plain bytes of a compressed file: of one stream, or of several in a row.

    Zeros and line breaks after a stream are skipped. A few other bytes at the end are ignored, if
    no stream begins within them; then `notes` gets a sentence.

    Raises:
        DAMAGED: a stream is damaged, the end of the last one is missing, or the bytes after it may
            be a damaged part of the file.
    """
    packed = packed_pieces(file)
    # isal misreads a header that is split between two pieces.
    rest, stream = peek(packed, _HEAD_BYTES)
    while rest and compression.begins(rest):
        rest = yield from _stream(compression.decompressor(), stream)
        rest = rest.lstrip(_PADDING)
        while not rest and (piece := next(packed, b"")):
            rest = piece.lstrip(_PADDING)
        rest, stream = peek(chain([rest], packed), _HEAD_BYTES)
    if rest:
        size = len(rest) + os.fstat(file.fileno()).st_size - file.tell()
        others = f"{compression.name} stream is followed by {pluralize(size, 'byte')} of other data"
        if size > MAX_JUNK_BYTES or PACKED[compression.name].search(rest + file.read()):
            msg = f"its {others}, perhaps a damaged part of the file"
            raise ValueError(msg)
        notes.append(f"The {others}, which the reader ignores.")


def _stream(stream: Decompressor, packed: Iterator[bytes]) -> Generator[bytes, None, bytes]:
    """Yield the plain bytes of one stream; return the bytes after it in its last piece."""
    while piece := next(packed, b""):
        yield stream.decompress(piece, CHUNK_BYTES)
        while not (stream.eof or stream.needs_input):
            yield stream.decompress(b"", CHUNK_BYTES)
        if stream.eof:
            return stream.unused_data
    msg = "its end is missing"
    raise EOFError(msg)
