"""Compressed files: unpacked whole, or refused."""

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.unpacking import is_packed, plain_bytes
from lfp_pipeline_tests.reading.support import read

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DATA = b"name,sku,description\n" + b"".join(b"Lamp %d,S-%d,x\n" % (n * n, n) for n in range(3000))
HALF = len(DATA) // 2
DIRECTORY = b"PK\x01\x02"


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def zstd_frame(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def zstd_stream(data: bytes) -> bytes:
    """As from a pipe: the frame does not tell its size."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    return compressor.compress(data) + compressor.flush()


PACKED = {
    "gzip": gzip.compress(DATA),
    "gzip, two members": gzip.compress(DATA[:HALF]) + gzip.compress(DATA[HALF:]),
    "zstd": zstd_frame(DATA),
    "zstd, two frames": zstd_frame(DATA[:HALF]) + zstd_frame(DATA[HALF:]),
    "zstd, a stream": zstd_stream(DATA[:HALF]) + zstd_stream(DATA[HALF:]),
    "zstd, with a skippable frame": zstd_frame(DATA) + b"\x50\x2a\x4d\x18\x04\0\0\0abcd",
    "zstd, after a skippable frame": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd_frame(DATA),
    "gzip, padded": gzip.compress(DATA) + bytes(100_000),
    "bz2": bz2.compress(DATA),
    "bz2, two streams": bz2.compress(DATA[:HALF]) + bz2.compress(DATA[HALF:]),
    "xz": lzma.compress(DATA),
    "xz, two streams": lzma.compress(DATA[:HALF]) + bytes(4) + lzma.compress(DATA[HALF:]),
    "zip": zipped(("products.csv", DATA)),
    "zip, stored": zipped(("products.csv", DATA), method=zipfile.ZIP_STORED),
    "zip, in a folder": zipped(("a/", b""), ("a/products.csv", DATA)),
    "zip, from macOS": zipped(
        ("products.csv", DATA), ("__MACOSX/._products.csv", b"x"), (".DS_Store", b"x")
    ),
}
each_packing = pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED.keys())


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., bytes]:
    def unpacked(packed: bytes, max_bytes: int = 10**9) -> bytes:
        path = tmp_path / "packed"
        path.write_bytes(packed)
        assert is_packed(path)
        return b"".join(plain_bytes(path, max_bytes))

    return unpacked


@each_packing
def test_what_went_in_comes_out(unpack: Callable[..., bytes], packed: bytes):
    assert unpack(packed) == DATA


@each_packing
def test_a_packed_file_is_read_as_what_is_in_it(packed: bytes):
    assert read(packed).contents == read(DATA).contents


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_packed_file_whose_first_bytes_give_nothing_yet_is_decoded_by_its_mark(encoding: str):
    rng = random.Random(2)
    noise = ("".join(map(chr, rng.choices(range(0x4E00, 0x9000), k=50))) for _ in range(3000))
    text = "name,sku,description\n" + "".join(
        f"Lamp,S-{n},{some}\n" for n, some in enumerate(noise)
    )
    first = zstd.ZstdDecompressor().decompress(zstd_frame(text.encode(encoding))[: 1 << 15])
    assert not first
    assert read(zstd_frame(text.encode(encoding))).contents.products == read(text.encode()).products


@each_packing
def test_a_file_that_is_cut_off_is_refused_wherever(unpack: Callable[..., bytes], packed: bytes):
    rng = random.Random(0)
    for length in {6, 7, 10, len(packed) - 1, *rng.choices(range(6, len(packed)), k=30)}:
        try:
            # What may come out is the whole: the end of a skippable frame, say, is no loss.
            assert unpack(packed[:length]) == DATA
        except DeliveryRefusedError:
            continue


@each_packing
def test_a_damaged_file_is_refused_or_harmless(unpack: Callable[..., bytes], packed: bytes):
    rng = random.Random(1)
    for _ in range(60):
        damaged = bytearray(packed)
        damaged[rng.randrange(6, len(packed))] ^= 1 << rng.randrange(8)
        try:
            assert unpack(bytes(damaged)) == DATA
        except DeliveryRefusedError:
            continue


def changed(packed: bytes, record: bytes, fields: dict[int, bytes]) -> bytes:
    """A zip with some bytes of a record of its directory replaced, by their offsets in it."""
    start, data = packed.index(record), bytearray(packed)
    for offset, value in fields.items():
        data[start + offset : start + offset + len(value)] = value
    return bytes(data)


def zip_with_place(place: int) -> bytes:
    """A zip whose member is said to begin there."""
    packed, member = io.BytesIO(), zipfile.ZipInfo("a.csv")
    member.extra = struct.pack("<HHQ", 1, 8, place)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, DATA)
    return changed(packed.getvalue(), DIRECTORY, {42: b"\xff" * 4})


@pytest.mark.parametrize(
    "packed",
    [
        changed(zipped(("a.csv", DATA)), DIRECTORY, {8: b"\0\x08", 46: b"\xae"}),
        changed(zipped(("a.csv", DATA)), DIRECTORY, {28: b"\0", 32: b"\5"}),
        changed(zipped(("a.csv", DATA)), b"PK\x05\x06", {18: b"\1"}),
        zip_with_place(2**64 - 1),
    ],
    ids=["a name that is not text", "no name", "begins before the file", "begins beyond it"],
)
def test_a_zip_whose_directory_is_damaged_is_refused(unpack: Callable[..., bytes], packed: bytes):
    with pytest.raises(DeliveryRefusedError, match="damaged"):
        unpack(packed)


@pytest.mark.parametrize("pack", [gzip.compress, zstd_frame, bz2.compress, lzma.compress])
def test_rubbish_after_the_end_is_refused(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="damaged"):
        unpack(pack(DATA) + b"rubbish")


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (zipped(), "holds 0 files"),
        (zipped(("__MACOSX/._a", b"x")), "holds 0 files"),
        (zipped(("a.csv", b"x"), ("b.csv", b"x")), "holds 2 files .a.csv, b.csv."),
        (zipped(("a.csv", DATA), method=zipfile.ZIP_BZIP2), "compressed in a rare way"),
        (zipped(("a.csv", DATA), method=zipfile.ZIP_LZMA), "compressed in a rare way"),
    ],
)
def test_a_zip_that_is_not_one_plain_file_is_refused(
    unpack: Callable[..., bytes], packed: bytes, message: str
):
    with pytest.raises(DeliveryRefusedError, match=message):
        unpack(packed)


def test_an_encrypted_zip_is_refused(unpack: Callable[..., bytes]):
    packed = bytearray(zipped(("a.csv", DATA)))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(magic) + flags] |= 1
    with pytest.raises(DeliveryRefusedError, match="encrypted"):
        unpack(bytes(packed))


@each_packing
def test_more_than_the_limit_is_refused(unpack: Callable[..., bytes], packed: bytes):
    assert unpack(packed, max_bytes=len(DATA)) == DATA
    with pytest.raises(DeliveryRefusedError, match="LFP_MAX_UNPACKED_BYTES"):
        unpack(packed, max_bytes=len(DATA) - 1)


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstd_frame, zstd_stream, bz2.compress, lzma.compress]
)
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="larger than"):
        unpack(pack(bytes(200_000_000)), max_bytes=10_000_000)


@pytest.mark.parametrize("pack", [gzip.compress, zstd_frame, bz2.compress, lzma.compress])
def test_a_packed_file_with_nothing_in_it_is_empty(pack: Callable[[bytes], bytes]):
    with pytest.raises(DeliveryRefusedError, match="is empty"):
        read(pack(b""))


def test_utf16_in_gzip_is_unpacked_and_recoded():
    packed = gzip.compress(DATA.decode().encode("utf-16"))
    assert read(packed).contents == read(DATA).contents


@pytest.mark.parametrize("data", [b"", b"P", b"name,sku", b"\x1f", b"PKname"])
def test_a_plain_file_is_not_packed(tmp_path: Path, data: bytes):
    path = tmp_path / "plain"
    path.write_bytes(data)
    assert not is_packed(path)


def test_a_workbook_is_refused_as_one(tmp_path: Path) -> None:
    path = tmp_path / "products.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DeliveryRefusedError, match="Excel workbook"):
        next(plain_bytes(path, 10**9))


def zip_entry(name: str, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (zip_entry("products.csv", stat.S_IFLNK), "symbolic link"),
        (zip_entry("../products.csv"), "leads out of it"),
        (zip_entry("a/../../products.csv"), "leads out of it"),
        (zip_entry("..\\products.csv"), "leads out of it"),
        (zip_entry("/etc/products.csv"), "leads out of it"),
        (zip_entry("C:\\products.csv"), "leads out of it"),
    ],
)
def test_a_zip_that_leads_out_of_itself_is_refused(
    unpack: Callable[..., bytes], entry: zipfile.ZipInfo, message: str
):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, DATA)
    with pytest.raises(DeliveryRefusedError, match=message):
        unpack(packed.getvalue())


def test_a_zip_whose_entries_overlap_is_refused(unpack: Callable[..., bytes]):
    packed = zipped(("a.csv", DATA), (".b", DATA))
    second = packed.rindex(DIRECTORY)
    overlapping = packed[:second] + changed(packed[second:], DIRECTORY, {42: bytes(4)})
    with pytest.raises(DeliveryRefusedError, match="begins within what is before it"):
        unpack(overlapping)


def test_a_zip_of_very_many_entries_is_refused(unpack: Callable[..., bytes]):
    with pytest.raises(DeliveryRefusedError, match="10,001 entries"):
        unpack(zipped(*((f".{n}", b"") for n in range(10_000)), ("a.csv", DATA)))


def test_many_tiny_streams_are_undone_in_time(unpack: Callable[..., bytes]):
    assert unpack(gzip.compress(b"") * 50_000 + gzip.compress(DATA)) == DATA
