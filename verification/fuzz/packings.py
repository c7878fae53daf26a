"""How a text is packed, and how packed bytes are damaged."""

import bz2
import io
import lzma
import zipfile
from collections.abc import Callable, Mapping, Sequence
from random import Random

from verification.corpus.packing import STREAMS, gzipped, zstd

MAX_UNPACKED_BYTES = 8 << 20

_BOMB = bytes(2 * MAX_UNPACKED_BYTES)


def damaged(packed: bytes, rng: Random) -> bytes:
    """Cut bytes off, or change some bits, bytes or stretches."""
    data = bytearray(packed)
    if rng.random() < 0.3:
        return packed[: rng.randrange(len(packed))]
    for _ in range(rng.choice([1, 1, 2, 8])):
        # Headers are at the begin of any file, and the directory of a zip is at its end.
        near = rng.choice([len(data), min(40, len(data)), -min(120, len(data))])
        place = rng.randrange(near) if near > 0 else len(data) + rng.randrange(near, 0)
        what = rng.randrange(4)
        if what <= 1:
            data[place] ^= 1 << rng.randrange(8)
        elif what == 2:
            data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        else:
            size = rng.choice([1, 2, 4, 8])
            data[place : place + size] = rng.choice([b"", b"\xff" * size, bytes(size), data[:size]])
        if not data:
            return b""
    return bytes(data)


def _halves(pack: Callable[[bytes], bytes], between: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda text: pack(text[: half_of(text)]) + between + pack(text[half_of(text) :])


def half_of(text: bytes) -> int:
    """Return the place where a text is divided that is packed as two."""
    return len(text) // 2


def _zipped(method: int, litter: Sequence[str] = ()) -> Callable[[bytes], bytes]:
    def pack(text: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name in litter:
                archive.writestr(zipfile.ZipInfo(name), b"x")
            archive.writestr(zipfile.ZipInfo("products.csv"), text, method)
        return out.getvalue()

    return pack


def _zstd_stream(text: bytes) -> bytes:
    """Compress as from a pipe: the frame does not state its size."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    return compressor.compress(text) + compressor.flush()


PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzipped,
    "gz in two": _halves(gzipped),
    "gz, padded": lambda text: gzipped(text) + bytes(1000),
    "gz, with junk": lambda text: gzipped(text) + b"\r\nuploaded: ok",
    "gz bomb": lambda text: gzipped(text + _BOMB),
    "zst": STREAMS["zstd"],
    "zst stream": _zstd_stream,
    "zst in two": _halves(STREAMS["zstd"], b"\x50\x2a\x4d\x18\x04\0\0\0abcd"),
    "zst bomb": lambda text: STREAMS["zstd"](text + _BOMB),
    "bz2": bz2.compress,
    "bz2 in two": _halves(bz2.compress),
    "xz": lzma.compress,
    "bz2 in two, apart": _halves(bz2.compress, b"\0\r\n"),
    "xz in two": _halves(lzma.compress, bytes(4)),
    "xz, with junk": lambda text: lzma.compress(text) + b"junk",
    "zip": _zipped(zipfile.ZIP_DEFLATED),
    "zip, stored": _zipped(zipfile.ZIP_STORED),
    "zip, from macOS": _zipped(zipfile.ZIP_DEFLATED, ["__MACOSX/._products.csv", ".DS_Store"]),
    "zip, beside others": _zipped(zipfile.ZIP_DEFLATED, ["LICENSE", "photo.jpg", "a.txt"]),
    "zip bomb": lambda text: _zipped(zipfile.ZIP_DEFLATED)(text + _BOMB),
}

WITH_OTHER_MEMBERS = {"zip, from macOS", "zip, beside others"}
"""Packings whose zip holds members with the text `x`."""
