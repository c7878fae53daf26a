"""The encoding of a text: by its marks, the sources file, the server, or the setting."""

import gzip
import io
import zipfile

import pytest

from lfp_pipeline.model.delivery import TextFormat
from testing.reader import FileRead, read

HEAD = "name,sku,description\n"
GERMAN = HEAD + "Lämp,A-1,größer – für 5 €\nStühle,B-2,\n"
JAPANESE = HEAD + "椅子,A-1,ランプ\n机,B-2,\n"
SETTING = "setting LFP_FALLBACK_ENCODING"


def read_as(
    data: bytes, *, encoding: str | None = None, charset: str | None = None, **others: object
) -> FileRead:
    return read(data, text_format=TextFormat(encoding, charset), **others)


def names(found: FileRead) -> list[str]:
    return [row[2] for row in found.winners]


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "utf-16", "cp037", "utf-7"])
def test_the_encoding_of_the_sources_file_applies(encoding: str):
    text = GERMAN.replace("–", "-").replace("€", "$")
    data = text.encode(encoding).removeprefix(b"\xff\xfe")
    found = read_as(data, encoding=encoding, charset="koi8-r", fallback_encoding="koi8-r")
    assert names(found) == ["Lämp", "Stühle"]
    label = "windows-1252" if encoding == "cp1252" else encoding
    assert found.notes == [f"Read as {label} (sources file)."]


def test_the_encoding_of_the_sources_file_applies_even_to_valid_utf8():
    assert names(read_as(GERMAN.encode(), encoding="cp1252")) == ["LÃ¤mp", "StÃ¼hle"]


def test_declared_utf8_has_no_fallback():
    found = read_as(GERMAN.encode("cp1252"), encoding="utf-8", charset="cp1252")
    assert [reject[3] for reject in found.rejects] == ["invalid encoding"] * 2
    assert not found.notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_overrides_the_sources_file(encoding: str):
    found = read_as(GERMAN.encode(encoding), encoding="cp1252", charset="cp1252")
    assert names(found) == ["Lämp", "Stühle"]
    assert not found.notes


def test_the_charset_of_a_server_overrides_the_setting():
    found = read_as(JAPANESE.encode("cp932"), charset="cp932", fallback_encoding="latin-1")
    assert names(found) == ["椅子", "机"]
    assert found.notes == ["Read as shift_jis (server)."]


def test_the_charset_of_a_server_is_ignored_for_utf8():
    found = read_as(GERMAN.encode(), charset="cp1252")
    assert names(found) == ["Lämp", "Stühle"]
    assert not found.notes


def test_the_setting_applies_if_the_server_wrongly_states_utf8():
    data = GERMAN.encode("cp1252")
    found = read_as(data, charset="utf-8", fallback_encoding="cp1252")
    assert names(found) == ["Lämp", "Stühle"]
    assert found.notes == [f"Read as windows-1252 ({SETTING})."]


@pytest.mark.parametrize("charset", ["iso2022_jp", "hz"])
def test_a_charset_with_ascii_escapes_applies_to_ascii(charset: str):
    text = JAPANESE if charset != "hz" else HEAD + "椅子,A-1,\n机,B-2,\n"
    data = text.encode(charset)
    assert data.isascii()
    assert names(read_as(data, charset=charset)) == ["椅子", "机"]


def test_a_charset_with_ascii_escapes_is_ignored_for_utf8():
    assert names(read_as(GERMAN.encode(), charset="iso2022_jp")) == ["Lämp", "Stühle"]


@pytest.mark.parametrize("charset", ["cp037", "utf-16"])
def test_a_charset_that_does_not_extend_ascii_applies_to_the_header(charset: str):
    text = "名,sku,description\n椅,A-1,ü\n" if charset == "utf-16" else HEAD + "Stühle,A-1,\n"
    data = text.encode(charset).removeprefix(b"\xff\xfe")
    found = read_as(data, charset=charset, column_aliases={"name": ["名"]})
    assert names(found) == ["椅" if charset == "utf-16" else "Stühle"]


@pytest.mark.parametrize("fallback", ["cp932", "euc_jp", "gb18030", "utf-16"])
def test_the_header_is_read_in_the_fallback_encoding(fallback: str):
    text = "商品,番号,説明\n椅子,A-1,ランプ\n机,B-2,\n"
    data = text.encode(fallback).removeprefix(b"\xff\xfe")
    aliases = {"name": ["商品"], "sku": ["番号"], "description": ["説明"]}
    found = read(data, fallback_encoding=fallback, column_aliases=aliases)
    assert names(found) == ["椅子", "机"]


def test_a_text_with_a_late_first_invalid_byte_is_recoded_whole():
    far = HEAD + "".join(f"Chair {number},S-{number},\n" for number in range(30_000))
    found = read((far + "Stühle,B-2,\n").encode("cp1252"), fallback_encoding="cp1252")
    assert names(found)[-1] == "Stühle"
    assert found.notes == [f"Read as windows-1252 ({SETTING})."]


def test_only_rows_that_the_fallback_cannot_decode_are_rejected():
    data = (
        (HEAD + "椅子,A-1,ランプ\n").encode("cp932") + b"\x81,B-2,\n" + "机,C-3,\n".encode("cp932")
    )
    found = read(data, fallback_encoding="shift_jis")
    assert names(found) == ["椅子", "机"]
    assert [reject[3] for reject in found.rejects] == ["invalid encoding"]


def test_a_packed_text_is_recoded():
    data = gzip.compress(GERMAN.encode("cp1252"))
    assert names(read_as(data, encoding="cp1252")) == ["Lämp", "Stühle"]
    assert names(read_as(data, charset="cp1252")) == ["Lämp", "Stühle"]


def test_each_member_of_a_zip_is_read_in_its_own_encoding():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", (HEAD + "Stühle,A-1,\n").encode("cp1252"))
        archive.writestr("b.csv", (HEAD + "Bänke,B-2,\n").encode())
        archive.writestr("c.csv", (HEAD + "Lämp,C-3,\n").encode("cp1252"))
        archive.writestr("d.csv", (HEAD + "Tür,D-4,\n").encode("utf-16"))
    found = read(file.getvalue(), fallback_encoding="cp1252")
    assert names(found) == ["Stühle", "Bänke", "Lämp", "Tür"]
    assert found.notes == [f"a.csv, c.csv: Read as windows-1252 ({SETTING})."]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_repeated_byte_order_marks_are_skipped(encoding: str):
    assert names(read(("\ufeff\ufeff" + GERMAN).encode(encoding))) == ["Lämp", "Stühle"]
