"""Archives with other files beside the data, and streams with bytes after their end."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import engine_of, take_name, taken, zipped, zstd

Pack = Callable[[bytes], bytes]

DATA = ("sku,name,description\n" + "".join(f"p-{n},Pot {n},Clay {n}\n" for n in range(10))).encode()
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(60)


@pytest.mark.parametrize(
    "others",
    [
        {"LICENSE": b"MIT\n"},
        {"README.md": b"# Pots\n", "img/pot.jpg": JPEG},
        {"LICENCE.txt": b"Free, of course.\n", "schema.json": b"{}", "Thumbs.db": b"\xd0\xcf"},
        {"notes/read me.txt": b"sku: the number of a pot\n", "logo.png": b"\x89PNG\r\n\x1a\n"},
    ],
)
def test_other_files_in_a_zip_are_skipped_by_name(tmp_path: Path, others: dict[str, bytes]):
    engine = engine_of(tmp_path)
    take_name(engine, "pots.zip", zipped({"data/pots.csv": DATA, **others}))
    found = taken(engine, "pots.zip")
    assert (found.status, len(found.products)) == ("merged", 10)
    for name in others:
        assert (name in found.notes) != (name == "Thumbs.db")


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", bytes(512), b"\0\r\n\0"])
@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("zst", zstd.compress), ("xz", lzma.compress)]
)
def test_line_breaks_and_zeros_after_a_stream_are_ignored(
    tmp_path: Path, suffix: str, pack: Pack, tail: bytes
):
    engine = engine_of(tmp_path)
    take_name(engine, f"pots.csv.{suffix}", pack(DATA) + tail)
    found = taken(engine, f"pots.csv.{suffix}")
    assert (len(found.products), found.notes) == (10, "")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_junk_after_a_stream_is_ignored_with_a_note(tmp_path: Path, pack: Pack):
    engine = engine_of(tmp_path)
    take_name(engine, "pots.csv.gz", pack(DATA) + b"-- end of transfer --\n")
    found = taken(engine, "pots.csv.gz")
    assert len(found.products) == 10
    assert "22 bytes of other data" in found.notes


def test_streams_with_line_breaks_between_them_are_one_file(tmp_path: Path):
    half = DATA.index(b"p-5")
    engine = engine_of(tmp_path)
    raw = gzip.compress(DATA[:half]) + b"\r\n" + gzip.compress(DATA[half:]) + b"\n"
    take_name(engine, "pots.csv.gz", raw)
    assert len(taken(engine, "pots.csv.gz").products) == 10
