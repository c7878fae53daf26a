"""Compressed files: unpacked whole, or refused."""

import errno
import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.unpacking import chunks, is_packed, open_unpacked
from lfp_pipeline_tests.reading.support import read

DATA = b"name,sku,description\n" + b"".join(b"Lamp %d,S-%d,x\n" % (n * n, n) for n in range(3000))
HALF = len(DATA) // 2
DIRECTORY = b"PK\x01\x02"


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_stream(data: bytes) -> bytes:
    """As from a pipe: the frame does not tell its size."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return compressor.compress(data) + compressor.flush()


PACKED = {
    "gzip": gzip.compress(DATA),
    "gzip, two members": gzip.compress(DATA[:HALF]) + gzip.compress(DATA[HALF:]),
    "zstd": zstd(DATA),
    "zstd, two frames": zstd(DATA[:HALF]) + zstd(DATA[HALF:]),
    "zstd, a stream": zstd_stream(DATA[:HALF]) + zstd_stream(DATA[HALF:]),
    "zstd, with a skippable frame": zstd(DATA) + b"\x50\x2a\x4d\x18\x04\0\0\0abcd",
    "zstd, after a skippable frame": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(DATA),
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
        with open_unpacked(path) as file:
            return b"".join(chunks(file, max_bytes))

    return unpacked


@each_packing
def test_what_went_in_comes_out(unpack: Callable[..., bytes], packed: bytes):
    assert unpack(packed) == DATA


@each_packing
def test_a_packed_file_is_read_as_what_is_in_it(packed: bytes):
    assert read(packed).contents == read(DATA).contents


@each_packing
def test_a_file_that_is_cut_off_is_refused_wherever(unpack: Callable[..., bytes], packed: bytes):
    rng = random.Random(0)
    for length in {4, 5, 10, len(packed) - 1, *rng.choices(range(4, len(packed)), k=30)}:
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
        damaged[rng.randrange(4, len(packed))] ^= 1 << rng.randrange(8)
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


@each_packing
def test_a_full_disk_is_no_damage(tmp_path: Path, packed: bytes):
    path = tmp_path / "packed"
    path.write_bytes(packed)
    with pytest.raises(OSError, match="No space"), open_unpacked(path):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
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


@pytest.mark.parametrize("pack", [gzip.compress, zstd, zstd_stream])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="larger than"):
        unpack(pack(bytes(200_000_000)), max_bytes=10_000_000)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
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
    with pytest.raises(DeliveryRefusedError, match="Excel workbook"), open_unpacked(path):
        pass
