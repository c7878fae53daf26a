"""A refusal names the cause and a remedy, and the remedy works."""

import io
import re
import zipfile
from pathlib import Path

import pytest

from lfp_pipeline_tests.stories.field.support import OTHER, take, take_named

CARET = "sku^name^description\n" + "".join(f"c-{n}^Cup {n}^China {n}\n" for n in range(10))


def open_document() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<x/>")
    return out.getvalue()


def test_a_sep_line_is_the_remedy_for_an_unknown_delimiter(tmp_path: Path):
    refused = take(tmp_path / "a", CARET)
    assert refused.status == "refused"
    advised = re.search(r"put a line (sep=\S+) above the header", refused.error)
    assert advised
    assert advised[1] == "sep=^"
    found = take(tmp_path / "b", f"{advised[1]}\n{CARET}")
    assert found.products["c-4"] == ("Cup 4", "China 4")


def test_a_delimiter_in_the_sources_file_is_the_other_remedy(tmp_path: Path):
    refused = take(tmp_path / "a", CARET)
    advised = re.search(r"write `(delimiter: '.')`", refused.error)
    assert advised
    assert len(take_named(tmp_path / "b", CARET.encode(), advised[1]).products) == 10


def test_aliases_are_the_remedy_for_other_names(tmp_path: Path):
    data = "artno,title,text\nf-1,Fork,Steel\n"
    refused = take(tmp_path / "a", data)
    assert "no column name" in refused.error
    assert "artno, title, text" in refused.error
    assert "LFP_COLUMN_ALIASES" in refused.error
    aliases = {"sku": ["artno"], "name": ["title"], "description": ["text"]}
    assert len(take(tmp_path / "b", data, column_aliases=aliases).products) == 1


@pytest.mark.parametrize(
    ("data", "name", "remedy"),
    [
        (open_document(), "OpenDocument", "LibreOffice"),
        (b"%PDF-1.7\n" + bytes(50), "PDF", "Export"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ".xls", "CSV UTF-8"),
        (b'[{"sku": "f-1", "name": "Fork"}]', "JSON", "Convert"),
        (b"PAR1\x15\x04\x00" + bytes(40) + b"PAR1", "Parquet", "DuckDB"),
        (b"<!DOCTYPE html><title>Log in</title>", "HTML", "link"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path: Path, data: bytes, name: str, remedy: str):
    refused = take(tmp_path, data)
    assert refused.status == "refused"
    assert name in refused.error
    assert remedy in refused.error


def test_a_higher_share_of_rejects_is_the_remedy_for_a_file_of_many(tmp_path: Path):
    data = OTHER.decode() + "g-1,Glass,x\ng-2,Glass\n"
    refused = take(tmp_path / "a", data)
    assert "LFP_MAX_REJECT_SHARE" in refused.error
    assert refused.rejects == ["missing columns"]
    found = take(tmp_path / "b", data, max_reject_share=0.5)
    assert (set(found.products), found.rejects) == ({"g-1"}, ["missing columns"])


def test_a_refusal_for_rejects_names_the_commonest_reason_and_its_first_row(tmp_path: Path):
    data = "sku,name,description\n" + "".join(f"v-{n},Vase,x,y,z\n" for n in range(20))
    refused = take(tmp_path, data + "v-20,Vase,x\n,No sku,x\n")
    assert "too many columns" in refused.error
    assert "row 1" in refused.error


@pytest.mark.parametrize("way", ["plain", "direct", "zip of two"])
def test_the_encoding_is_the_remedy_for_a_header_that_is_not_utf8(tmp_path: Path, way: str):
    rows = "".join(f"k-{n};Kissen {n};größe {n}, weiß\n" for n in range(10))
    data = ("sku;name;größe\n" + rows).encode("cp1252")
    aliases = {"description": ["größe"]}
    refused = take(tmp_path / "a", data, way, column_aliases=aliases)
    advised = re.search(r"set LFP_FALLBACK_ENCODING=(\S+)", refused.error)
    assert advised
    found = take(
        tmp_path / "b", data, way, column_aliases=aliases, fallback_encoding=advised[1].rstrip(".")
    )
    assert found.products["k-4"] == ("Kissen 4", "größe 4, weiß")


def test_the_encoding_is_the_remedy_for_rows_of_a_zipped_file(tmp_path: Path):
    rows = "".join(f"k-{n};Kissen;weiß\n" for n in range(11_000))
    data = ("sku;name;description\n" + rows).encode("cp1252")
    refused = take(tmp_path / "a", data, "zip of two")
    assert "LFP_FALLBACK_ENCODING=windows-1252" in refused.error
