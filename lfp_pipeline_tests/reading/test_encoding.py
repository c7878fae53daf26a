"""Every file becomes UTF-8, and what is not is found."""

import random
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfp_pipeline.reading import encoding
from lfp_pipeline.reading.encoding import (
    beyond_ascii,
    detect_encoding,
    invalid_utf8_offsets,
    to_utf8,
)


@pytest.mark.parametrize(
    ("head", "encoding", "mark_length"),
    [
        (b"name,sku", "utf-8", 0),
        (b"", "utf-8", 0),
        (b"na\0me,sku", "utf-8", 0),
        (b"\xef\xbb\xbfname", "utf-8", 3),
        (b"\xff\xfen\0a\0", "utf-16-le", 2),
        (b"\xfe\xff\0n\0a", "utf-16-be", 2),
        ("name,sku\u20ac".encode("utf-16-le"), "utf-16-le", 0),
        ("name,sku\u20ac".encode("utf-16-be"), "utf-16-be", 0),
    ],
)
def test_the_encoding_is_told_by_the_first_bytes(head: bytes, encoding: str, mark_length: int):
    assert detect_encoding(head) == (encoding, mark_length)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.text(max_size=30), st.sampled_from(["utf-16-le", "utf-16-be"]), st.integers(1, 5))
@settings(deadline=None)
def test_recoding_does_not_depend_on_where_the_pieces_end(text: str, encoding: str, size: int):
    pieces = in_pieces(text.encode(encoding), size)
    assert b"".join(to_utf8(pieces, encoding)) == text.encode()


@pytest.mark.parametrize("tail", [b"x", b"\x3d\xd8", b"\x3d\xd8\x00"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_character_that_is_cut_off_leaves_something_that_is_not_utf8(tail: bytes, size: int):
    recoded = b"".join(to_utf8(in_pieces("ab".encode("utf-16-le") + tail, size), "utf-16-le"))
    assert recoded.startswith(b"ab")
    assert len(recoded) > 2
    with pytest.raises(UnicodeDecodeError):
        recoded.decode()


@pytest.mark.parametrize("code", [0xD83D, 0xDE00])
def test_half_a_pair_stays_in_its_place_and_is_not_utf8(code: int):
    half = chr(code)
    data = f"ab{half}cd".encode("utf-16-le", "surrogatepass")
    recoded = b"".join(to_utf8([data], "utf-16-le"))
    assert recoded == b"ab" + half.encode("utf-8", "surrogatepass") + b"cd"
    with pytest.raises(UnicodeDecodeError):
        recoded.decode()


def test_latin1_knows_every_byte():
    every = bytes(range(256))
    assert b"".join(to_utf8([every], "latin-1")).decode() == every.decode("latin-1")


@given(st.lists(st.one_of(st.text(max_size=5).map(str.encode), st.binary(max_size=4))))
@settings(deadline=None)
def test_invalid_bytes_are_those_that_python_cannot_decode(pieces: list[bytes]):
    with tempfile.NamedTemporaryFile() as file:
        file.write(data := b"start" + b"".join(pieces))
        file.flush()
        found = list(invalid_utf8_offsets(Path(file.name)))
    bad = bytearray(data)
    for offset in reversed(found):
        del bad[offset]
    assert found == sorted(set(found))
    if found:
        assert data[: found[0]].decode().encode() == data[: found[0]]
        with pytest.raises(UnicodeDecodeError):
            data.decode()
    else:
        data.decode()


@given(st.lists(st.one_of(st.text(max_size=5).map(str.encode), st.binary(max_size=4))))
@settings(deadline=None)
def test_characters_and_other_bytes_are_counted_whatever_the_pieces(pieces: list[bytes]):
    data = b"".join(pieces)
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_PIECE_BYTES", 3)
        file.write(data)
        file.flush()
        characters, others = beyond_ascii(Path(file.name))
    valid = data.decode(errors="ignore")
    assert characters == sum(not character.isascii() for character in valid)
    assert others == len(data) - len(valid.encode())


def test_looking_begins_where_it_is_told_to(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"\xffab\xffc\xe2\x82")
    assert list(invalid_utf8_offsets(path)) == [0, 3, 5, 6]
    assert list(invalid_utf8_offsets(path, 1)) == [3, 5, 6]


def test_a_file_full_of_invalid_bytes_takes_linear_time(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(random.Random(0).randbytes(2_000_000))
    started = time.perf_counter()
    assert sum(1 for _ in invalid_utf8_offsets(path)) > 500_000
    assert time.perf_counter() - started < 10
