"""Archives of the corpus: those that are accepted, and all together."""

import bz2
import lzma
import zipfile
from collections.abc import Iterator

from verification.corpus.cases import Case, Piece, accepted
from verification.corpus.hostile_archives import hostile_archives
from verification.corpus.packing import DIRECTORY, END, HEAD, Pack, changed, gzipped, zipped, zstd

PACKINGS: dict[str, Pack] = {
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


def archives() -> list[Case]:
    """Return all cases, each with skus of its own."""
    cases = [*good_archives(), *hostile_archives()]
    return [case.with_skus(f"a{number}-") for number, case in enumerate(cases)]


def good_archives() -> Iterator[Case]:
    """Yield archives that are accepted, as far as their rows are good."""
    row: Piece = ("Lamp,§1,x\n", ("§1", "Lamp", "x"))
    for name, pack in PACKINGS.items():
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
    """Return a zip of the texts, each with a header, in reverse order."""
    _, *texts = plain.split(HEAD)
    members = [(f"{number}.csv", HEAD + text) for number, text in enumerate(texts)]
    return zipped(*members[::-1])
