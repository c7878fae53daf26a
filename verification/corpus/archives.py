"""Hostile, damaged and odd archives; none is kept as a file."""

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
from collections.abc import Callable, Iterator

from verification.corpus.cases import Case, Piece, accepted, refused

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


def archives() -> list[Case]:
    """All of them, each with skus of its own."""
    cases = [*good_archives(), *hostile_archives()]
    return [case.with_skus(f"a{number}-") for number, case in enumerate(cases)]


def hostile_archives() -> list[Case]:
    """Those that are to be refused."""
    return [*what_zips_hold(), *entries(), *damaged_zips(), *damaged_streams(), *bombs()]


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
    """A zip with some bytes of its last record of a kind replaced, by their offsets in it."""
    start, data = packed.rindex(record), bytearray(packed)
    for offset, value in fields.items():
        data[start + offset : start + offset + len(value)] = value
    return bytes(data)


def good_archives() -> Iterator[Case]:
    """What is taken, whole or as far as its rows are good."""
    row: Piece = ("Lamp,§1,x\n", ("§1", "Lamp", "x"))
    packings: dict[str, Pack] = {
        "gzip": gzipped,
        "gzip, two members": lambda data: gzipped(data[:9]) + gzipped(data[9:]),
        "gzip, padded": lambda data: gzipped(data) + bytes(1_000),
        "gzip, a line break at its end": lambda data: gzipped(data) + b"\r\n",
        "gzip, line breaks between two": lambda data: (
            gzipped(data[:9]) + b"\n\0\r\n" + gzipped(data[9:])
        ),
        "gzip, rubbish at its end": lambda data: gzipped(data) + b"rubbish",
        "zstd, rubbish at its end": lambda data: zstd.compress(data) + b"\nrubbish",
        "bz2, rubbish at its end": lambda data: bz2.compress(data) + b"rubbish",
        "xz, rubbish at its end": lambda data: lzma.compress(data) + b"\0rubbish",
        "zstd": zstd.compress,
        "zstd, after a frame to skip": lambda data: (
            b"\x50\x2a\x4d\x18\4\0\0\0abcd" + zstd.compress(data)
        ),
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zip": lambda data: zipped(("a.csv", data)),
        "zip, stored": lambda data: zipped(("a.csv", data), method=zipfile.ZIP_STORED),
        "zip, in folders": lambda data: zipped(("a/b/", b""), ("a/b/c.csv", data)),
        "zip, with litter": lambda data: zipped(
            ("a.csv", data), ("__MACOSX/._a.csv", b"x"), (".DS_Store", b"x"), ("b/.c/", b"")
        ),
        "zip, no suffix": lambda data: zipped(("export", data)),
        "zip, another suffix": lambda data: zipped(("export.dat", data)),
        "zip, beside other files": lambda data: zipped(
            ("a.csv", data),
            ("b.png", b"\x89PNG"),
            ("c.exe", b"MZ"),
            ("README.md", b"Read me."),
            ("README.txt", b"Read me.\n"),
            ("LICENSE", b""),
            ("docs/d.PDF", b"%PDF-"),
        ),
        "zip, a text beside other files": lambda data: zipped(
            ("README.txt", b"Read me.\n"), ("products.txt", data), ("b.png", b"\x89PNG")
        ),
        "zip, beside a picture with a password": lambda data: changed(
            zipped(("a.csv", data), ("b.png", b"\x89PNG")), DIRECTORY, {8: b"\1"}
        ),
        "zip, a long name": lambda data: zipped(("n" * 60_000, data)),
        "zip, a name in Unicode": lambda data: zipped(("Größe \U0001f600 \u202evsc.csv", data)),
        "zip, with a comment": lambda data: (
            changed(zipped(("a.csv", data)), END, {20: b"\4\0"}) + b"ours"
        ),
        "zip, rubbish at its end": lambda data: zipped(("a.csv", data)) + b"rubbish",
        "zip, named as another": lambda data: zipped(("a.html", data)),
    }
    for name, pack in packings.items():
        yield accepted(f"{name}, taken", row, ("bad\n", "missing columns"), delivered=pack)
    yield accepted(
        "zip of three, taken",
        row,
        ('Sofa,§2,"never closed', "unclosed quote"),
        (HEAD, None),
        ("Chair,§3", "missing columns"),
        (HEAD, None),
        ("Desk,§4,", ("§4", "Desk", "")),
        delivered=in_members,
    )


def in_members(plain: bytes) -> bytes:
    """A zip of the texts, each of which begins with the header, in another order."""
    _, *texts = plain.split(HEAD)
    members = [(f"{number}.csv", HEAD + text) for number, text in enumerate(texts)]
    return zipped(*members[::-1])


def what_zips_hold() -> Iterator[Case]:
    """Zips of the wrong things."""
    csv = "a.csv", DATA
    for name, members, message in (
        ("nothing", [], "holds no file"),
        (
            "litter",
            [("__MACOSX/._a.csv", DATA), ("._b", DATA), ("Thumbs.db", b"x"), ("c/", b"")],
            "holds no file",
        ),
        ("a zip", [("b.zip", zipped(csv))], "b.zip in the zip is itself an archive"),
        ("a zip in disguise", [("b.csv", zipped(csv))], "b.csv in the zip is itself .*zip"),
        ("CSV and a zip", [csv, ("b.ZIP", zipped(csv))], "b.ZIP in the zip is itself"),
        ("CSV and gzip", [csv, ("b.csv.gz", gzipped(DATA))], "b.csv.gz in the zip is itself"),
        ("gzip in disguise", [csv, ("b.csv", gzipped(DATA))], r"b.csv .*itself .*\(gzip\)"),
        ("xz in disguise", [("b.txt", lzma.compress(DATA))], r"b.txt .*itself .*\(xz\)"),
        ("zstd in disguise", [("b", zstd.compress(DATA))], r"b in .*itself .*\(zstd\)"),
        ("bz2 in disguise", [("b", bz2.compress(DATA))], r"b in .*itself .*\(bzip2\)"),
        ("a tar in disguise", [("b.csv", tar())], r"b.csv .*itself .*\(tar\)"),
        ("7z in disguise", [("b.csv", b"7z\xbc\xaf\x27\x1c" + DATA)], r"b.csv .*itself .*\(7z\)"),
        ("RAR in disguise", [("b.csv", b"Rar!\x1a\7\1\0" + DATA)], r"b.csv .*itself .*\(RAR\)"),
        ("a picture", [("a.pdf", b"%PDF"), ("b.png", b"\x89PNG")], "no CSV file, but a.pdf, b.png"),
        ("a text", [("a.pdf", b"%PDF"), ("b.txt", b"x\n")], "In b.txt: The header has no column"),
        ("texts", [("a.txt", b"x\n"), ("b", b"y\n")], "In a.txt: The header has no column"),
        ("CSV and a workbook", [csv, ("b.xlsx", workbook())], "b.xlsx .* archive or a workbook"),
        ("an empty member", [csv, ("b.csv", b"")], "In b.csv: The file is empty"),
        ("a lone empty member", [("a.csv", b"")], "The file is empty"),
        ("a workbook", [("[Content_Types].xml", b"<T/>"), ("xl/a.xml", b"")], "Excel workbook"),
        ("a sheet", [("mimetype", b"x"), ("content.xml", b"<x/>")], "In mimetype: The header"),
        ("a page", [("a.html", b"<html>")], "is a web page"),
        ("a workbook in disguise", [csv, ("b.csv", workbook())], "b.csv in the zip is an Excel"),
    ):
        yield refused(f"zip of {name}", zipped(*members), message)


def entries() -> Iterator[Case]:
    """Zips with entries that no honest tool makes."""
    for name in (
        "../a.csv",
        "a/../../b.csv",
        "..\\a.csv",
        "/etc/a.csv",
        "C:\\a.csv",
        "\\\\host\\a.csv",
        "..",
    ):
        yield refused(f"zip of {name}", zipped((name, DATA)), "leads out of it")
    for name in ("../.ssh", "../b/", "/.b"):
        yield refused(f"zip with {name}", zipped(("a.csv", DATA), (name, b"")), "leads out of it")
    for kind, mode, message in (
        ("link", stat.S_IFLNK, "symbolic link"),
        ("pipe", stat.S_IFIFO, "a device or a pipe"),
        ("device", stat.S_IFBLK, "a device or a pipe"),
    ):
        yield refused(f"zip of a {kind}", zipped((entry("a.csv", mode), DATA)), message)
    yield refused(
        "zip with a link", zipped(("a.csv", DATA), (entry("b.csv", stat.S_IFLNK), b"/")), "link"
    )
    twice = zipped(("a.csv", DATA), ("./a.csv", DATA))
    yield refused("zip of one name twice", twice, "holds a.csv 2 times")
    same = zipped(("a.csv", DATA), ("b.csv", DATA)).replace(b"b.csv", b"a.csv")
    yield refused("zip of the same name twice", same, "holds a.csv 2 times")
    yield refused(
        "zip of a folder with content", zipped(("a.csv", DATA), ("b/", DATA)), "has content"
    )
    yield refused(
        "zip of 10,001", zipped(*((f".{n}", b"") for n in range(10_001))), "10,001 entries"
    )
    long = [(f"{n:05}" + "n" * 60_000, b"") for n in range(75)]
    yield refused("zip with a huge directory", zipped(*long), "directory of the zip is")
    for name, method in (("bz2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA)):
        yield refused(f"zip with {name}", zipped(("a.csv", DATA), method=method), "in a rare way")
    for name, number in (("Deflate64", 9), ("AES", 99), ("nothing known", 60)):
        rare = changed(zipped(("a.csv", DATA)), DIRECTORY, {10: bytes([number, 0])})
        yield refused(f"zip with {name}", rare, "in a rare way")
    locked = zipped(("a.csv", DATA))
    for record, offset in ((LOCAL, 6), (DIRECTORY, 8)):
        locked = changed(locked, record, {offset: b"\1"})
    yield refused("zip with a password", locked, "encrypted")
    half = changed(zipped(("a.csv", DATA), ("b.csv", DATA)), DIRECTORY, {8: b"\1"})
    yield refused("zip with a password for the second", half, "b.csv in the zip is encrypted")


def damaged_zips() -> Iterator[Case]:
    """Zips whose records and bytes do not fit together."""
    one, two = zipped(("a.csv", DATA)), zipped(("a.csv", DATA), ("b.csv", DATA))
    middle = two.rindex(LOCAL)
    for name, packed, message in (
        ("cut off in the middle", one[: len(one) // 2], "The zip is damaged"),
        ("cut off in its directory", one[:-30], "The zip is damaged"),
        ("cut off by a byte", one[:-1], "The zip is damaged"),
        ("without a directory", one[: one.index(DIRECTORY)], "The zip is damaged"),
        ("nothing but a beginning", LOCAL + bytes(30), "The zip is damaged"),
        (
            "a wrong checksum",
            changed(one, DIRECTORY, {16: b"\0\0\0\0"}),
            "a.csv in the zip is damaged",
        ),
        ("too short", changed(one, DIRECTORY, {24: b"\1\0\0\0"}), "a.csv in the zip is damaged"),
        (
            "too long",
            changed(one, DIRECTORY, {24: b"\xff\xff\xff\0"}),
            "a.csv in the zip is damaged",
        ),
        (
            "less packed",
            changed(one, DIRECTORY, {20: b"\x50\0\0\0"}),
            "a.csv in the zip is damaged",
        ),
        (
            "more packed",
            changed(one, DIRECTORY, {20: b"\xff\xff\0\0"}),
            "ends within its directory",
        ),
        ("stored, it says", changed(one, DIRECTORY, {10: b"\0\0"}), "a.csv in the zip is damaged"),
        ("no local header", changed(two, LOCAL, {0: b"XX"}), "b.csv in the zip is damaged"),
        (
            "a flipped bit",
            two[: middle + 900] + b"\xff\xff" + two[middle + 902 :],
            "b.csv .* damaged",
        ),
        ("overlapping", changed(two, DIRECTORY, {42: bytes(4)}), "b.csv begins within"),
        ("half overlapping", changed(two, DIRECTORY, {42: b"\x40\0"}), "b.csv begins within"),
        ("in its directory", changed(one, DIRECTORY, {42: b"\xff\xff\0\0"}), "directory"),
        ("no name", changed(one, DIRECTORY, {28: b"\0", 32: b"\5"}), "The zip is damaged"),
        (
            "a name that is not text",
            changed(one, DIRECTORY, {8: b"\0\x08", 46: b"\xae"}),
            "damaged",
        ),
        ("a directory elsewhere", changed(one, END, {18: b"\1"}), "damaged"),
        ("a directory of 4 GB", changed(one, END, {12: b"\xff\xff\xff\x7f"}), "damaged|directory"),
        ("the mark of its end in its comment", changed(one, END, {20: b"\4\0"}) + END, "damaged"),
        ("two put together", one + zipped(("b.csv", DATA)), "does not cover the first"),
        ("a hidden one before", LOCAL + bytes(100) + one, "does not cover the first"),
    ):
        yield refused(f"zip: {name}", packed, message)


def damaged_streams() -> Iterator[Case]:
    """Streams that are cut off, wrong, or of another archive."""
    for name, pack in STREAMS.items():
        packed = pack(DATA)
        yield refused(f"{name}: cut off", packed[: len(packed) // 2], "damaged or cut off")
        yield refused(f"{name}: cut off by a byte", packed[:-1], "damaged or cut off")
        junk = b"y" * 70_000
        yield refused(f"{name}: much rubbish at its end", packed + junk, "70,000 bytes of other")
        hidden = packed + b"rubbish" + packed
        yield refused(f"{name}: rubbish, then another", hidden, "perhaps a damaged part")
        yield refused(f"{name}: nothing in it", pack(b""), "is empty")
        yield refused(f"{name} of a zip", pack(zipped(("a.csv", DATA))), r"itself .*\(zip\)")
        yield refused(f"{name} of gzip", pack(gzipped(DATA)), r"itself .*\(gzip\)")
        yield refused(f"{name} of a workbook", pack(workbook()), "is an Excel workbook")
        yield refused(f"{name} of XLS", pack(OLE2 + bytes(500)), "is an Excel workbook")
        yield refused(f"{name} of a tar", pack(tar()), r"itself .*\(tar\)")
        flipped = bytearray(packed)
        flipped[len(packed) // 2] ^= 255
        yield refused(f"{name}: a flipped byte", bytes(flipped), "damaged or cut off")
    dictionary = zstd.ZstdDict(DATA, is_raw=True)
    foreign = zstd.compress(DATA, zstd_dict=dictionary)
    yield refused("zstd: with a dictionary", foreign, "damaged or cut off")
    yield refused("xz: a huge dictionary", xz_with_dictionary(40), "takes too much memory")
    for name, data in {
        "tar": tar(),
        "7z": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100),
        "RAR": b"Rar!\x1a\7\1\0" + bytes(100),
        "lz4": b"\x04\x22\x4d\x18" + bytes(100),
    }.items():
        yield refused(f"{name} as it is", data, rf"itself .*\({name}\)")
    yield refused("a part of a zip", b"PK\7\x08" + zipped(("a.csv", DATA)), r"itself .*\(zip\)")


def bombs() -> Iterator[Case]:
    """What unpacks to very much."""
    zeros = bytes(ZEROS)
    for name, pack in STREAMS.items():
        # Deflate packs a thousand times at most.
        message = "LFP_MAX_UNPACKED_BYTES" if name == "gzip" else "1,000 times its size"
        yield refused(f"{name} bomb", pack(zeros) * (15 if name == "gzip" else 10), message)
    many = [(f"{number}.csv", zeros) for number in range(15)]
    yield refused("zip bomb", zipped(*many), "LFP_MAX_UNPACKED_BYTES")
    one = changed(zipped(("a.csv", zeros)), DIRECTORY, {24: b"\0\1\0\0"})
    yield refused("zip bomb that denies it", one, "a.csv in the zip is damaged")
    told = changed(zipped(("a.csv", DATA)), DIRECTORY, {24: struct.pack("<I", 90_000_000)})
    yield refused("zip that tells of more", told, "1,000 times its size")
    flat = flat_bomb(DATA * 10, 200)
    yield refused("zip of members in one another", flat, "begins within the entry before it")


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
    """An xz that says that it takes a dictionary of that size: 40 is 4 GB."""
    packed = bytearray(lzma.compress(DATA))
    header = slice(12, 12 + (packed[12] + 1) * 4)
    block = packed[header]
    block[block.index(b"\x21\x01") + 2] = size
    packed[header] = block[:-4] + struct.pack("<I", zlib.crc32(block[:-4]))
    return bytes(packed)


def flat_bomb(data: bytes, times: int) -> bytes:
    """A zip whose entries all are the same bytes."""
    packed = zipped(("a0000.csv", data))
    start, end = packed.index(DIRECTORY), packed.index(END)
    record = packed[start:end]
    directory = b"".join(record.replace(b"a0000", b"a%04d" % number) for number in range(times))
    counts = struct.pack("<HHII", times, times, len(directory), start)
    return packed[:start] + directory + packed[end : end + 8] + counts + b"\0\0"
