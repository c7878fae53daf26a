"""Detection of encodings, recoding to UTF-8, and the search for invalid bytes."""

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
    extends_ascii,
    invalid_utf8_offsets,
    is_utf8,
    to_utf8,
    with_byte_order,
)


@pytest.mark.parametrize(
    ("head", "encoding", "mark_length"),
    [
        (b"name,sku", "utf-8", 0),
        (b"", "utf-8", 0),
        (b"na\0me,sku", "utf-8", 0),
        (b"\xef\xbb\xbfname", "utf-8", 3),
        (b"\xef\xbb\xbf\xef\xbb\xbf\xef\xbb\xbfname", "utf-8", 9),
        (b"\xff\xfen\0a\0", "utf-16-le", 2),
        (b"\xff\xfe\xff\xfen\0a\0", "utf-16-le", 4),
        (b"\xfe\xff\xfe\xff\0n\0a", "utf-16-be", 4),
        ("\ufeffna".encode("utf-32-le"), "utf-32-le", 4),
        ("\ufeff\ufeffna".encode("utf-32-be"), "utf-32-be", 8),
        (b"\xfe\xff\0n\0a", "utf-16-be", 2),
        ("name,sku\u20ac".encode("utf-16-le"), "utf-16-le", 0),
        ("name,sku\u20ac".encode("utf-16-be"), "utf-16-be", 0),
    ],
)
def test_the_first_bytes_show_the_encoding(head: bytes, encoding: str, mark_length: int):
    assert detect_encoding(head) == (encoding, mark_length)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.text(max_size=30), st.sampled_from(["utf-16-le", "utf-16-be"]), st.integers(1, 5))
@settings(deadline=None)
def test_recoding_does_not_depend_on_the_boundaries_of_pieces(text: str, encoding: str, size: int):
    pieces = in_pieces(text.encode(encoding), size)
    assert b"".join(to_utf8(pieces, encoding)) == text.encode()


@pytest.mark.parametrize("tail", [b"x", b"\x3d\xd8", b"\x3d\xd8\x00"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_character_that_is_cut_off_becomes_an_invalid_byte(tail: bytes, size: int):
    recoded = b"".join(to_utf8(in_pieces("ab".encode("utf-16-le") + tail, size), "utf-16-le"))
    assert recoded.startswith(b"ab")
    assert len(recoded) > 2
    with pytest.raises(UnicodeDecodeError):
        recoded.decode()


@pytest.mark.parametrize("code", [0xD83D, 0xDE00])
def test_half_a_surrogate_pair_becomes_invalid_bytes_in_its_place(code: int):
    half = chr(code)
    data = f"ab{half}cd".encode("utf-16-le", "surrogatepass")
    recoded = b"".join(to_utf8([data], "utf-16-le"))
    assert recoded == b"ab" + half.encode("utf-8", "surrogatepass") + b"cd"
    with pytest.raises(UnicodeDecodeError):
        recoded.decode()


def recoded(data: bytes, encoding: str, size: int = 1 << 20) -> bytes:
    return b"".join(to_utf8(in_pieces(data, size), encoding))


def test_windows_1252_decodes_every_byte():
    undefined = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])
    others = bytes(byte for byte in range(256) if byte not in undefined)
    assert recoded(others, "cp1252").decode() == others.decode("cp1252")
    assert recoded(undefined, "cp1252").decode() == undefined.decode("latin-1")


def test_an_undefined_byte_of_a_windows_encoding_becomes_an_invalid_byte():
    assert recoded(b"a\xaa,\x81\n", "cp1253") == b"a\xff,\xc2\x81\n"


MULTI_BYTE = {
    "cp932": "椅子①,ｶﾌﾞ,～\n",
    "euc_jp": "椅子,ランプ\n",
    "gb18030": "椅子，€,𠀀\n",
    "cp950": "檯燈,桌子\n",
    "cp949": "의자,램프똠\n",
    "iso2022_jp": "椅子,lamp,ランプ\n",
    "hz": "椅子,lamp,~\n",
    "utf-7": "Größe,+,椅子\n",
    "cp037": "Größe,a\n",
    "utf-32-be": "Größe,𠀀\n",
}


@pytest.mark.parametrize("encoding", MULTI_BYTE)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_every_codec_recodes_pieces_of_any_size(encoding: str, size: int):
    text = MULTI_BYTE[encoding] * 3
    assert recoded(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("cp932", b"a\x81\n,b\x81,c", b"a\xff\n,b\xff,c"),
        ("gb18030", b"a\x81,b\n\x81\x30,c\n", b"a\xff,b\n\xff0,c\n"),
        ("cp950", b"a\xf9\r\nb", b"a\xff\r\nb"),
        ("cp949", b'"\xc9"\nb', b'"\xff"\nb'),
        ("euc_jp", b"a\x8f\n,b", b"a\xff\n,b"),
        ("utf-7", b"a,+B\r\nb,c\n", b"a,\xff\r\nb,c\n"),
        ("iso2022_jp", b"a\x1b(\n", b"a\xff\n"),
        ("hz", b"a~{\nb~}c\n", None),
        ("cp932", b"a\x81", b"a\xff"),
        ("utf-32-le", b"a\0\0\0\0\n\r\x7fb\0\0\0c\0", b"a\xffb\xff"),
        ("utf-32-be", b"\0\0\xd8\0\0\0\0a", b"\xffa"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_an_undecodable_sequence_becomes_an_invalid_byte_and_keeps_line_ends(
    encoding: str, data: bytes, expected: bytes | None, size: int
):
    found = recoded(data, encoding, size)
    if expected is not None:
        assert found == expected
    assert not is_utf8(found + b"\n")
    wide = encoding.startswith("utf-32")
    assert wide or found.count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize("encoding", ["cp932", "gb18030", "cp950", "cp949", "euc_jp"])
@given(data=st.binary(max_size=20), size=st.integers(1, 5))
@settings(deadline=None)
def test_recoding_keeps_the_lines_of_any_bytes(encoding: str, data: bytes, size: int):
    data += b"a\n"
    found = recoded(data, encoding, size)
    assert found.count(b"\n") == data.count(b"\n")
    assert found == recoded(data, encoding)
    try:
        true = data.decode(encoding)
    except UnicodeDecodeError:
        assert not is_utf8(found)
    else:
        assert found == true.encode()


def test_lone_surrogates_of_utf7_become_invalid_bytes():
    assert recoded(b"a+2D0-b", "utf-7") == b"a\xffb"


def test_an_endless_sequence_takes_little_memory():
    pieces = (b"+" if number == 0 else b"A" * 100_000 for number in range(30))
    assert b"\xff" in b"".join(to_utf8(pieces, "utf-7"))
    largest = max(len(piece) for piece in to_utf8([b"+", *[b"A" * 100_000] * 30], "utf-7"))
    assert largest < 200_000


@pytest.mark.parametrize("encoding", ["cp932", "cp1253", "gb18030", "utf-7"])
def test_recoding_undecodable_bytes_takes_linear_time(encoding: str):
    data = random.Random(0).randbytes(1 << 20)
    started = time.perf_counter()
    assert recoded(data, encoding).count(b"\xff") > 1000
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("encoding", "extends"),
    [
        *((name, True) for name in ("utf-8", "cp1252", "cp932", "gb18030", "cp950", "koi8-r")),
        *((name, False) for name in ("utf-16", "utf-32", "iso2022_jp", "hz", "utf-7", "cp037")),
    ],
)
def test_encodings_that_extend_ascii_are_recognized(encoding: str, extends: bool):
    assert extends_ascii(encoding) == extends


@pytest.mark.parametrize(
    ("encoding", "head", "found"),
    [
        ("utf-16", "椅b,c".encode("utf-16-be"), "utf-16-le"),  # The bytes do not show their order.
        ("utf-16", "ab,c".encode("utf-16-be"), "utf-16-be"),
        ("utf-32", "äb".encode("utf-32-be"), "utf-32-be"),
        ("utf-32", "äb".encode("utf-32-le"), "utf-32-le"),
        ("cp1252", b"", "cp1252"),
    ],
)
def test_zero_bytes_show_an_unnamed_byte_order(encoding: str, head: bytes, found: str):
    assert with_byte_order(encoding, head) == found


def test_the_first_bytes_may_end_within_a_character():
    assert is_utf8("aä".encode()[:-1])
    assert not is_utf8(b"a\xe4b")


@given(st.lists(st.one_of(st.text(max_size=5).map(str.encode), st.binary(max_size=4))))
@settings(deadline=None)
def test_invalid_offsets_are_those_that_python_cannot_decode(pieces: list[bytes]):
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
def test_characters_and_invalid_bytes_are_counted_in_pieces_of_any_size(pieces: list[bytes]):
    data = b"".join(pieces)
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_PIECE_BYTES", 3)
        file.write(data)
        file.flush()
        characters, others = beyond_ascii(Path(file.name))
    valid = data.decode(errors="ignore")
    assert characters == sum(not character.isascii() for character in valid)
    assert others == len(data) - len(valid.encode())


def test_the_search_for_invalid_bytes_begins_at_the_given_offset(tmp_path: Path):
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
