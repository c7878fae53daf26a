"""Hostile, damaged and odd archives, which are refused."""

import bz2
import lzma
import stat
import struct
import zipfile
from collections.abc import Iterator

from verification.corpus.cases import Case, refused
from verification.corpus.packing import (
    DATA,
    DIRECTORY,
    END,
    LOCAL,
    OLE2,
    STREAMS,
    ZEROS,
    changed,
    entry,
    flat_bomb,
    gzipped,
    tar,
    workbook,
    xz_with_dictionary,
    zipped,
    zstd,
)


def hostile_archives() -> list[Case]:
    """Return all cases that are refused."""
    return [*what_zips_hold(), *entries(), *damaged_zips(), *damaged_streams(), *bombs()]


def what_zips_hold() -> Iterator[Case]:
    """Yield zips with the wrong members."""
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
    """Yield zips with entries that no honest tool makes."""
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
    """Yield zips whose records contradict each other or the bytes."""
    one, two = zipped(("a.csv", DATA)), zipped(("a.csv", DATA), ("b.csv", DATA))
    middle = two.rindex(LOCAL)
    damaged = "a.csv in the zip is damaged"

    def with_entry(fields: dict[int, bytes]) -> bytes:
        return changed(one, DIRECTORY, fields)

    for name, packed, message in (
        ("cut off in the middle", one[: len(one) // 2], "The zip is damaged"),
        ("cut off in its directory", one[:-30], "The zip is damaged"),
        ("cut off by a byte", one[:-1], "The zip is damaged"),
        ("without a directory", one[: one.index(DIRECTORY)], "The zip is damaged"),
        ("nothing but a beginning", LOCAL + bytes(30), "The zip is damaged"),
        ("a wrong checksum", with_entry({16: b"\0\0\0\0"}), damaged),
        ("too short", with_entry({24: b"\1\0\0\0"}), damaged),
        ("too long", with_entry({24: b"\xff\xff\xff\0"}), damaged),
        ("less packed", with_entry({20: b"\x50\0\0\0"}), damaged),
        ("more packed", with_entry({20: b"\xff\xff\0\0"}), "ends within its directory"),
        ("stored, it says", with_entry({10: b"\0\0"}), damaged),
        ("no local header", changed(two, LOCAL, {0: b"XX"}), "b.csv in the zip is damaged"),
        (
            "a flipped bit",
            two[: middle + 900] + b"\xff\xff" + two[middle + 902 :],
            "b.csv .* damaged",
        ),
        ("overlapping", changed(two, DIRECTORY, {42: bytes(4)}), "b.csv begins within"),
        ("half overlapping", changed(two, DIRECTORY, {42: b"\x40\0"}), "b.csv begins within"),
        ("in its directory", with_entry({42: b"\xff\xff\0\0"}), "directory"),
        ("no name", with_entry({28: b"\0", 32: b"\5"}), "The zip is damaged"),
        ("a name that is not text", with_entry({8: b"\0\x08", 46: b"\xae"}), "damaged"),
        ("a directory elsewhere", changed(one, END, {18: b"\1"}), "damaged"),
        ("a directory of 4 GB", changed(one, END, {12: b"\xff\xff\xff\x7f"}), "damaged|directory"),
        ("the mark of its end in its comment", changed(one, END, {20: b"\4\0"}) + END, "damaged"),
        ("two put together", one + zipped(("b.csv", DATA)), "does not cover the first"),
        ("a hidden one before", LOCAL + bytes(100) + one, "does not cover the first"),
    ):
        yield refused(f"zip: {name}", packed, message)


def damaged_streams() -> Iterator[Case]:
    """Yield streams that are cut off, damaged, or contain another archive."""
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
    """Yield archives that unpack to very much."""
    zeros = bytes(ZEROS)
    for name, pack in STREAMS.items():
        # Deflate packs a thousandfold at most.
        message = "LFP_MAX_UNPACKED_BYTES" if name == "gzip" else "1,000 times its size"
        yield refused(f"{name} bomb", pack(zeros) * (15 if name == "gzip" else 10), message)
    many = [(f"{number}.csv", zeros) for number in range(15)]
    yield refused("zip bomb", zipped(*many), "LFP_MAX_UNPACKED_BYTES")
    one = changed(zipped(("a.csv", zeros)), DIRECTORY, {24: b"\0\1\0\0"})
    yield refused("zip bomb that denies it", one, "a.csv in the zip is damaged")
    claims = changed(zipped(("a.csv", DATA)), DIRECTORY, {24: struct.pack("<I", 90_000_000)})
    yield refused("zip that claims more", claims, "1,000 times its size")
    flat = flat_bomb(DATA * 10, 200)
    yield refused("zip of members in one another", flat, "begins within the entry before it")
