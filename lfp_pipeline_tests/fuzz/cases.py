"""What is tried: files made of a seed, clean and dirty, plain and packed, whole and damaged.

A case is the same for the same seed and number, so it can be tried again by these two; and it can
be written as JSON, so what a shrunk one shows stays.
"""

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_UNPACKED_BYTES = 8 << 20
RECORD_BYTES = 2_000_000

_HEADERS = (
    ("sku", "name", "description"),
    ("name", "sku", "description"),
    ("name", "sku", "extra", "description"),
    ("description", "x", "sku", "name", "y"),
)
_WORDS = ("a", "b1", "c c", "Lamp", "é", "\U0001f600", "=1+1", "-", "0", "NULL", "\\N", "'", "\\")
_SLIPS = (
    *(b'"', b'"', b'""', b" ", b"  ", b"\n", b"\r", b"\r\n", b"\0", b"\t", b",", b";", b"|", b"'"),
    *(b"\\", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b'"a" "b"'),
    *(b' "', b'" ', b'  "a"', "\u00a0".encode(), "\u2028".encode(), b"sep=;\n", b"\x1a", b"#"),
)
_BOMB = bytes(2 * MOST_UNPACKED_BYTES)


@dataclass(frozen=True)
class File:
    """A file as it is delivered.

    Attributes:
        text: what was written, as UTF-8 as far as it is text.
        start: where its first record begins; None: its header may be damaged, too.
        delimiter: between its values.
        header: the names in its header.
        encoding: what the text is recoded as, with a byte order mark, if it is not UTF-8.
        packing: how it is packed, by a name of `PACKINGS`.
        damage: the seed of what happened to the packed bytes; None: nothing.
        key: its partition.
        microseconds: the time of its delivery.
    """

    text: bytes
    start: int | None
    delimiter: str
    header: tuple[str, ...]
    encoding: str = "utf-8"
    packing: str = "plain"
    damage: int | None = None
    key: str = "a.csv"
    microseconds: int = 1

    @property
    def encoded(self) -> bytes:
        """The text, as it is before it is packed."""
        if self.encoding == "utf-8":
            return self.text
        return ("\ufeff" + self.text.decode()).encode(self.encoding)

    @property
    def raw(self) -> bytes:
        """The bytes that are delivered."""
        packed = PACKINGS[self.packing](self.encoded)
        return packed if self.damage is None else _damaged(packed, Random(self.damage))


@dataclass(frozen=True)
class Case:
    """Files, and what is done with them.

    Attributes:
        way: `read` each in turn, `merge` them together, or load each `directly`.
        files: one or more.
        record_bytes: the longest record that is read, which makes DuckDB's buffers short.
        threads: of DuckDB.
        max_reject_share: a file with more rejects is refused.
    """

    way: str
    files: tuple[File, ...]
    record_bytes: int = RECORD_BYTES
    threads: int = 2
    max_reject_share: float = 1.0

    def to_json(self) -> str:
        """The case as text."""
        return json.dumps(asdict(self), default=lambda raw: raw.decode("latin-1"))

    @classmethod
    def from_json(cls, text: str) -> "Case":
        """The case that was written as text."""
        told = json.loads(text)
        return cls(**told | {"files": tuple(map(_file, told["files"]))})


def _file(told: dict[str, Any]) -> File:
    text, header = told["text"].encode("latin-1"), tuple(told["header"])
    return File(**told | {"text": text, "header": header})


def case_of(seed: int, number: int) -> Case:
    """A case of a seed."""
    rng = Random(f"{seed} {number}")
    way = rng.choices(["read", "merge", "directly"], [6, 2, 1])[0]
    limit = rng.choice([RECORD_BYTES, RECORD_BYTES, 300, 2_000])
    files = tuple(_random_file(rng, limit, way) for _ in range(rng.choice([1, 1, 2, 3])))
    return Case(
        way,
        files,
        record_bytes=limit,
        threads=rng.choice([1, 2, 4]),
        max_reject_share=rng.choice([1, 1, 0.5, 0.1]) if way != "read" else 1,
    )


def _random_file(rng: Random, limit: int, way: str) -> File:
    file = _dirty(rng, _clean(rng, limit), limit)
    if limit == RECORD_BYTES and rng.random() < 0.1:  # No header is wider than such a record.
        file = replace(file, text=_mutated(rng, file.text, file, limit), start=None)
    if file.start is not None and rng.random() < 0.1 and not file.text.startswith(b"\xef\xbb\xbf"):
        try:
            file.text.decode()
        except UnicodeDecodeError:
            pass
        else:
            file = replace(file, encoding=rng.choice(["utf-16-le", "utf-16-be"]))
    if rng.random() < 0.4:
        packing = rng.choice([name for name in PACKINGS if name != "plain"])
        damage = rng.randrange(10**9) if rng.random() < 0.6 else None
        file = replace(file, packing=packing, damage=damage)
    if way == "read":
        return file
    return replace(file, key=rng.choice(["a.csv", "a", "b.csv"]), microseconds=rng.randrange(3))


def _clean(rng: Random, limit: int) -> File:
    """A file that any CSV writer might have written."""
    delimiter, newline = rng.choice(",,;\t|"), rng.choice(["\n", "\r\n", "\r"])
    header = rng.choice(_HEADERS)
    before = rng.choice([""] * 6 + ["\ufeff", "\ufeff", newline, f"sep={delimiter}{newline}"])
    head = (before + delimiter.join(header) + newline).encode()
    rows = rng.choice([rng.randrange(6), rng.randrange(30), rng.randrange(300), 3_000])
    if rows > 300 and rng.random() < 0.7:
        rows = 100
    quoted, skus = rng.choice([0, 0.1, 0.5, 1]), rng.choice([3, rows + 1])
    inside = ("aaa", "b", " ", '""', delimiter, newline, "x", "\n", "\r", "é")
    mark = delimiter.encode()

    def value(column: str) -> bytes:
        if column == "sku" and rng.random() < 0.97:
            return b"s%d" % rng.randrange(skus)
        if rng.random() < quoted:
            return f'"{"".join(rng.choices(inside, k=rng.randint(0, 12)))}"'.encode()
        if rng.random() < 0.02:
            return b"y" * rng.choice([limit // 2, limit - 30, limit]) if limit < 10**5 else b"y"
        return "".join(rng.choices(_WORDS, k=rng.randint(0, 4))).replace(delimiter, "").encode()

    data = b"".join(mark.join(map(value, header)) + newline.encode() for _ in range(rows))
    return File(head + data, len(head), delimiter, header)


def _dirty(rng: Random, file: File, limit: int) -> File:
    start = file.start or 0
    body = file.text[start:]
    slips = rng.choice([0, 0, 1, 2, 5, 20]) if len(body) < 50_000 else rng.choice([0, 1, 3])
    for _ in range(slips):
        body = _mutated(rng, body, file, limit)
    return replace(file, text=file.text[:start] + body)


def _mutated(rng: Random, data: bytes, file: File, limit: int) -> bytes:
    place = rng.randrange(len(data) + 1)
    other = min(len(data), place + rng.choice([1, 1, 3, 10, 100]))
    header = file.delimiter.join(file.header).encode()
    what = rng.randrange(8)
    if what <= 2:
        return data[:place] + rng.choice(_SLIPS) + data[place:]
    if what == 3 and place < len(data):
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if what == 4:
        return data[:place] + data[other:]
    if what == 5:
        return data[:other] + data[place:]
    if what == 6:
        return data[:place] + b"\n" + header + b"\n" + data[place:]
    long = rng.choice([limit // 3, limit, limit + 5, 5 * limit]) if limit < 10**5 else 50
    return data[:place] + rng.choice([b"y", b"y,", b'"', b"\n", b'"\n']) * long + data[place:]


def _damaged(packed: bytes, rng: Random) -> bytes:
    """Cut off, or with some bits, bytes or stretches that are others."""
    data = bytearray(packed)
    if rng.random() < 0.3:
        return packed[: rng.randrange(len(packed))]
    for _ in range(rng.choice([1, 1, 2, 8])):
        # Most of a zip's meaning is at its end, and of any file at its begin.
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
    """Where a text is divided that is packed as two."""
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


def _gzipped(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


def _zstd_frame(text: bytes) -> bytes:
    return zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1})


def _zstd_stream(text: bytes) -> bytes:
    """As from a pipe: the frame does not tell its size."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    return compressor.compress(text) + compressor.flush()


PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": _gzipped,
    "gz in two": _halves(_gzipped),
    "gz, padded": lambda text: _gzipped(text) + bytes(1000),
    "gz, with junk": lambda text: _gzipped(text) + b"\r\nuploaded: ok",
    "gz bomb": lambda text: _gzipped(text + _BOMB),
    "zst": _zstd_frame,
    "zst stream": _zstd_stream,
    "zst in two": _halves(_zstd_frame, b"\x50\x2a\x4d\x18\x04\0\0\0abcd"),
    "zst bomb": lambda text: _zstd_frame(text + _BOMB),
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
