"""A refusal names the format of a file that is not CSV."""

import gzip
import io
import sqlite3
import zipfile
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.file_formats import format_of
from testing.reader import read

OPEN_DOCUMENT = b"application/vnd.oasis.opendocument.spreadsheet"


def zipped(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def database(path: Path) -> bytes:
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE products (sku VARCHAR)")
    return path.read_bytes()


def query_result(path: Path, query: str) -> bytes:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}'")
    return path.read_bytes()


def sqlite_database(path: Path) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE products (sku)")
    connection.close()
    return path.read_bytes()


WORKBOOKS = {
    "content types first": zipped(("[Content_Types].xml", b"<T/>"), ("xl/workbook.xml", b"<w/>")),
    "relations first": zipped(("_rels/.rels", b"<R/>"), ("[Content_Types].xml", b"<T/>")),
    "sheet first": zipped(("xl/worksheets/sheet1.xml", b"<s/>"), ("[Content_Types].xml", b"<T/>")),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: zipped(("products", data))])
@pytest.mark.parametrize("data", WORKBOOKS.values(), ids=WORKBOOKS.keys())
def test_a_workbook_is_named_plain_and_packed(data: bytes, pack):  # noqa: ANN001
    with pytest.raises(DeliveryRefusedError, match=r"is an Excel workbook .*\. Save it as CSV"):
        read(pack(data))


def test_an_open_document_is_named_plain_and_packed():
    sheet = zipped(("mimetype", OPEN_DOCUMENT), ("content.xml", b"<office:document-content/>"))
    for data in (sheet, gzip.compress(sheet)):
        with pytest.raises(DeliveryRefusedError, match=r"is an OpenDocument file.*Save it as CSV"):
            read(data)


def test_a_refusal_names_a_zip_member_that_is_a_workbook():
    data = zipped(("a.csv", b"name,sku,description\n"), ("b.csv", WORKBOOKS["content types first"]))
    with pytest.raises(DeliveryRefusedError, match=r"^b\.csv in the zip is an Excel workbook"):
        read(data)


def test_a_refusal_names_the_format_of_files_of_other_programs(tmp_path: Path):
    rows = "SELECT 'Lamp' AS name, 'A-1' AS sku, 'x' AS description"
    for data, name in (
        (database(tmp_path / "a.duckdb"), "a DuckDB database"),
        (sqlite_database(tmp_path / "a.sqlite"), "a SQLite database"),
        (query_result(tmp_path / "a.parquet", rows), "a Parquet file"),
        (query_result(tmp_path / "a.json", rows), "JSON"),
    ):
        for packed in (data, gzip.compress(data)):
            with pytest.raises(DeliveryRefusedError, match=f"^The file is {name}, not CSV"):
                read(packed)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel workbook (.xls)"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        (b"{\\rtf1\\ansi\\deff0 name,sku}", "an RTF document"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture (PNG)"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a picture (JPEG)"),
        (b"GIF89a\1\0\1\0\x80\0\0", "a picture (GIF)"),
        (b"ORC\n\x1d\n\4\x08\1P\0", "an ORC file"),
        (b"Obj\1\4\x14avro.codec\x08null", "an Avro file"),
        (b'\xef\xbb\xbf\n [\n {"sku": "A-1"},\n', "JSON"),
        (b'{"sku": "A-1"}\n{"sku": "A-2"}\n', "JSON"),
        (b'["sku", "name"]\n', "JSON"),
        (b"{}", "JSON"),
        (b"\n<!doctype HTML>\n<html>", "a web page (HTML)"),
        (b'<html xmlns:x="urn:schemas-microsoft-com:office:excel">', "a web page (HTML)"),
        (b"<table><tr><td>sku</td></tr></table>", "a web page (HTML)"),
        (b'<?xml version="1.0"?><products/>', "XML"),
        (b"<products><product/></products>", "XML"),
        (b"-- MySQL dump 10.13  Distrib 8.0\n--\n", "an SQL dump"),
        (b"--\n-- PostgreSQL database dump\n--\n", "an SQL dump"),
        (b"insert into products values (1);", "an SQL dump"),
        (b"DROP TABLE products;", "an SQL dump"),
        (b"\x7fELF\2\1\1\0", "binary data"),
        (b"sku" + bytes(1_000), "binary data"),
    ],
)
def test_the_first_bytes_name_the_format(data: bytes, name: str):
    found = format_of(data)
    assert found is not None
    assert found.refusal().startswith(f"The file is {name}, not CSV. ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Dear all,\nfind the products below.\n",
        b"Orchard,article,text\n",
        b"ORCHARD,article,text\n",
        b"PAR1,PAR2\n",
        b"Product DUCK,article\n",
        b"Gr\xf6\xdfe;Artikel;Text\n",
        b"[1] Lamp,x\n",
        b"<5 kg,<10 kg\n",
        b"{sku},{name}\n",
        b"inserted,created\n",
        b"\tname\r\n\x0c\n",
        b"x" * 300 + bytes(10),
    ],
)
def test_other_text_has_no_known_format(data: bytes):
    assert format_of(data) is None


@pytest.mark.parametrize("begin", [b"{rtf},", b"<html>,", b'"[""a""]",', b"%PDF-,", b"ORC,"])
def test_a_file_with_a_header_is_read_whatever_its_first_bytes(begin: bytes):
    assert read(begin + b"name,sku,description\nx,Lamp,A-1,\n").rows_read == 1
