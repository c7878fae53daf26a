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

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading import compression
from lfp_pipeline.reading.compression import MAX_JUNK_BYTES, compression_of
from lfp_pipeline.reading.unpacking import contents, is_packed
from testing.reader import delivery_at, read, reading, settings

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
    """Compress as from a pipe: the frame does not state its size."""
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
    "gzip, with line breaks": gzip.compress(DATA) + b"\r\n\n\r" * 50_000,
    "zstd, with zeros and line breaks": zstd_frame(DATA) + b"\n\0\r\n",
    "bz2, with zeros and line breaks": bz2.compress(DATA) + b"\n\0\r\n",
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
each_compression = pytest.mark.parametrize(
    "pack", [gzip.compress, zstd_frame, zstd_stream, bz2.compress, lzma.compress]
)
each_packing = pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED.keys())


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., bytes]:
    def unpacked(packed: bytes, max_bytes: int = 10**9) -> bytes:
        path = tmp_path / "packed"
        path.write_bytes(packed)
        assert is_packed(path)
        return b"".join(b"".join(file.pieces) for file in contents(path, max_bytes, bool))

    return unpacked


@each_packing
def test_unpacking_returns_the_packed_bytes(unpack: Callable[..., bytes], packed: bytes):
    assert unpack(packed) == DATA


@each_packing
def test_a_packed_file_gives_the_rows_of_its_content(packed: bytes):
    assert read(packed).contents == read(DATA).contents


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_packed_file_with_little_first_output_is_decoded_by_its_mark(encoding: str):
    rng = random.Random(2)
    noise = ("".join(map(chr, rng.choices(range(0x4E00, 0x9000), k=50))) for _ in range(3000))
    text = "name,sku,description\n" + "".join(
        f"Lamp,S-{n},{some}\n" for n, some in enumerate(noise)
    )
    first = zstd.ZstdDecompressor().decompress(zstd_frame(text.encode(encoding))[: 1 << 15])
    assert not first
    assert read(zstd_frame(text.encode(encoding))).contents.products == read(text.encode()).products


@each_packing
def test_a_file_cut_off_anywhere_is_refused(unpack: Callable[..., bytes], packed: bytes):
    rng = random.Random(0)
    for length in {6, 7, 10, len(packed) - 1, *rng.choices(range(6, len(packed)), k=30)}:
        try:
            # Only the whole content may result; the end of a skippable frame, say, is no loss.
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
    """Return a zip with bytes of a record of its directory replaced, by offset in the record."""
    start, data = packed.index(record), bytearray(packed)
    for offset, value in fields.items():
        data[start + offset : start + offset + len(value)] = value
    return bytes(data)


def zip_with_offset(offset: int) -> bytes:
    """Return a zip whose directory gives this offset for its member."""
    packed, member = io.BytesIO(), zipfile.ZipInfo("a.csv")
    member.extra = struct.pack("<HHQ", 1, 8, offset)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, DATA)
    return changed(packed.getvalue(), DIRECTORY, {42: b"\xff" * 4})


@pytest.mark.parametrize(
    "packed",
    [
        changed(zipped(("a.csv", DATA)), DIRECTORY, {8: b"\0\x08", 46: b"\xae"}),
        changed(zipped(("a.csv", DATA)), DIRECTORY, {28: b"\0", 32: b"\5"}),
        changed(zipped(("a.csv", DATA)), b"PK\x05\x06", {18: b"\1"}),
        zip_with_offset(2**64 - 1),
    ],
    ids=["a name that is not text", "no name", "begins before the file", "begins beyond it"],
)
def test_a_zip_whose_directory_is_damaged_is_refused(unpack: Callable[..., bytes], packed: bytes):
    with pytest.raises(DeliveryRefusedError, match="damaged"):
        unpack(packed)


def noted(packed: bytes, folder: Path) -> tuple[bytes, list[str]]:
    """Return the plain bytes of a compressed file, and the notes."""
    path = folder / "packed"
    path.write_bytes(packed)
    ((data, notes),) = [(b"".join(file.pieces), file.notes) for file in contents(path, 10**9, bool)]
    return data, notes


@each_compression
@pytest.mark.parametrize("junk", [b"!", b"rubbish", b"\nrubbish\n", b"y" * MAX_JUNK_BYTES])
def test_a_few_bytes_after_a_stream_are_ignored_and_noted(
    tmp_path: Path, pack: Callable[[bytes], bytes], junk: bytes
):
    name = compression_of(pack(DATA)).name  # type: ignore[union-attr]
    size = pluralize(len(junk.lstrip()), "byte")
    note = f"The {name} stream is followed by {size} of other data, which the reader ignores."
    assert noted(pack(DATA) + junk, tmp_path) == (DATA, [note])
    assert noted(pack(DATA[:HALF]) + b"\0" + pack(DATA[HALF:]) + junk, tmp_path) == (DATA, [note])


@each_compression
@pytest.mark.parametrize("padding", [b"", b"\0", b"\r\n", b"\n" * 100_000])
def test_a_whole_stream_has_no_note(tmp_path: Path, pack: Callable[[bytes], bytes], padding: bytes):
    assert noted(pack(DATA) + padding, tmp_path) == (DATA, [])


@each_compression
def test_many_bytes_after_a_stream_refuse_the_file_and_are_counted(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="followed by 200,000 bytes of other data, per"):
        unpack(pack(DATA) + b"\r\n\0" + b"y" * 200_000)


@each_compression
def test_a_stream_among_the_bytes_after_another_refuses_the_file(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="perhaps a damaged part"):
        unpack(pack(DATA[:HALF]) + b"rubbish" + pack(DATA[HALF:]))


@each_compression
def test_a_second_stream_cut_off_anywhere_refuses_the_file(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    second = pack(DATA[HALF:])
    for length in (*range(1, 40), len(second) - 1):
        with pytest.raises(DeliveryRefusedError, match="damaged or cut off"):
            unpack(pack(DATA[:HALF]) + b"\r\n" + second[:length])


@each_compression
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_streams_and_the_bytes_after_them_may_be_split_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], size: int
):
    monkeypatch.setattr(compression, "_PACKED_BYTES", size)
    data = DATA[:3_000]
    streams = pack(data[:900]) + b"\r\n\0" * 5 + pack(data[900:2_000]) + pack(data[2_000:])
    assert noted(streams, tmp_path) == (data, [])
    assert noted(streams + b"\n" * 9, tmp_path) == (data, [])
    out, notes = noted(streams + b"\nrubbish", tmp_path)
    assert (out, len(notes)) == (data, 1)


def test_ignored_bytes_appear_in_the_notes_of_the_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "products.csv.gz"
    path.write_bytes(gzip.compress(DATA) + b"rubbish")
    with reading(delivery_at(path), settings(tmp_path)) as (read, _):
        assert [note for note in read.notes if "7 bytes of other data" in note] == list(read.notes)
    assert f"products.csv: {read.notes[0]}" in caplog.messages


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (zipped(), "holds no file"),
        (zipped(("__MACOSX/._a", b"x")), "holds no file"),
        (zipped(("a.png", b"x"), ("b.pdf", b"x")), "holds no CSV file, but a.png, b.pdf. Add"),
        (zipped(("a.csv", b"x"), ("./a.csv", b"x")), "holds a.csv 2 times"),
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


@each_compression
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    unpack: Callable[..., bytes], pack: Callable[[bytes], bytes]
):
    with pytest.raises(DeliveryRefusedError, match="larger than"):
        unpack(pack(bytes(30_000_000)), max_bytes=10_000_000)


@each_compression
def test_a_packed_empty_file_is_empty(pack: Callable[[bytes], bytes]):
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
def test_a_zip_with_paths_outside_itself_is_refused(
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
    with pytest.raises(DeliveryRefusedError, match="begins within the entry before it"):
        unpack(overlapping)


def test_a_zip_of_very_many_entries_is_refused(unpack: Callable[..., bytes]):
    with pytest.raises(DeliveryRefusedError, match="10,001 entries"):
        unpack(zipped(*((f".{n}", b"") for n in range(10_000)), ("a.csv", DATA)))


def test_many_tiny_streams_are_unpacked_in_time(unpack: Callable[..., bytes]):
    assert unpack(gzip.compress(b"") * 50_000 + gzip.compress(DATA)) == DATA
