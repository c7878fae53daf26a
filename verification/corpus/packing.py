"""Makes archives of all kinds, honest and forged."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD = b"name,sku,description\n"
DATA = HEAD + b"".join(b"Lamp %d,S-%d,x\n" % (n * n, n) for n in range(500))
ZEROS = 7_000_000

OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
LOCAL, DIRECTORY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"

Pack = Callable[[bytes], bytes]
Entry = str | zipfile.ZipInfo


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zipped(*members: tuple[Entry, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def changed(packed: bytes, record: bytes, fields: dict[int, bytes]) -> bytes:
    """Replace bytes in the last record of a kind in a zip, by their offsets in the record."""
    start, data = packed.rindex(record), bytearray(packed)
    for offset, value in fields.items():
        data[start + offset : start + offset + len(value)] = value
    return bytes(data)


STREAMS: dict[str, Pack] = {
    "gzip": gzipped,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def workbook() -> bytes:
    return zipped(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<workbook/>"))


def tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a.csv")
        member.size = len(DATA)
        archive.addfile(member, io.BytesIO(DATA))
    return packed.getvalue()


def xz_with_dictionary(size: int) -> bytes:
    """Return an xz file that claims a dictionary of this size: 40 is 4 GB."""
    packed = bytearray(lzma.compress(DATA))
    header = slice(12, 12 + (packed[12] + 1) * 4)
    block = packed[header]
    block[block.index(b"\x21\x01") + 2] = size
    packed[header] = block[:-4] + struct.pack("<I", zlib.crc32(block[:-4]))
    return bytes(packed)


def flat_bomb(data: bytes, times: int) -> bytes:
    """Return a zip whose entries all have the same bytes."""
    packed = zipped(("a0000.csv", data))
    start, end = packed.index(DIRECTORY), packed.index(END)
    record = packed[start:end]
    directory = b"".join(record.replace(b"a0000", b"a%04d" % number) for number in range(times))
    counts = struct.pack("<HHII", times, times, len(directory), start)
    return packed[:start] + directory + packed[end : end + 8] + counts + b"\0\0"
