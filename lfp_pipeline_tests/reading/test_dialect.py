"""How a file is written is found in its header."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect, detect_dialect


def detect(head: bytes, mark_length: int = 0, **aliases: list[str]) -> Dialect:
    return detect_dialect(head, mark_length, aliases)  # type: ignore[arg-type]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_delimiter_and_line_end_are_those_of_the_header(delimiter: str, newline: bytes):
    header = delimiter.join(["name", "sku", "description"]).encode()
    dialect = detect(header + newline + b"a,b,c;d;e|f\n")
    assert (dialect.delimiter, dialect.newline) == (delimiter, newline)
    assert dialect.plain_header
    assert dialect.body_start == len(header + newline)


def test_the_delimiter_is_the_one_that_names_our_columns_not_the_one_that_is_frequent():
    dialect = detect(b"name;sku;description;a,b,c,d,e,f,g\n")
    assert dialect.delimiter == ";"
    assert dialect.columns.ignored == ["a,b,c,d,e,f,g"]


def test_a_byte_order_mark_is_not_part_of_the_first_name():
    dialect = detect(b"\xef\xbb\xbfname,sku,description\n", mark_length=3)
    assert dialect.columns.header == ("name", "sku", "description")
    assert dialect.plain_header
    assert dialect.body_start == 24


@pytest.mark.parametrize("line", [b"sep=;\r\n", b'"SEP=;"\n', b"sep=;\r"])
def test_a_separator_line_tells_the_delimiter(line: bytes):
    dialect = detect(line + b"name;sku;description\nx")
    assert dialect.delimiter == ";"
    assert not dialect.plain_header
    assert dialect.body_start == len(line) + 21


@pytest.mark.parametrize("mark", [b'"', b" ", b"a", b"1", b"\xff", b"\n"])
def test_what_cannot_separate_is_no_separator_line(mark: bytes):
    with pytest.raises(DeliveryRefusedError):
        detect(b"sep=" + mark + b"\nname,sku,description\n")


@pytest.mark.parametrize(
    "header",
    [
        b'name,"sku\nno",description,sku\n',
        b"\n\nname,sku,description\n",
        b" \t\r\nname,sku,description\n",
    ],
)
def test_a_header_that_is_not_one_line_at_the_start_is_not_plain(header: bytes):
    dialect = detect(header + b"a,b,c\n")
    assert not dialect.plain_header
    assert dialect.body_start == len(header)


def test_a_header_without_line_end_is_the_whole_file():
    dialect = detect(b"name,sku,description")
    assert (dialect.newline, dialect.body_start) == (b"\n", 20)


def test_a_quote_within_a_name_opens_nothing():
    dialect = detect(b'name,sku,description,6" deep\nLamp,A-1,"x",y\n')
    assert dialect.columns.header[-1] == '6" deep'
    assert dialect.body_start == 29


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "is empty"),
        (b"\r\n  \n", "is empty"),
        (b"name,sku\n", "no column description"),
        (b"a,b\n", "no column name and no column sku and no column description"),
        (b"name,sku,description,SKU\n", "names the column sku more than once"),
        (b'"name,sku,description\n', "not a line of CSV"),
        (b'name,"sku"x,description\n', "no column"),
    ],
)
def test_a_header_that_is_no_use_refuses_the_file(head: bytes, message: str):
    with pytest.raises(DeliveryRefusedError, match=message):
        detect(head)


def test_a_header_without_end_refuses_the_file():
    head = b"name,sku,description," + b"x," * HEAD_BYTES
    with pytest.raises(DeliveryRefusedError, match="longer than"):
        detect(head[:HEAD_BYTES])


def test_a_header_of_too_many_columns_refuses_the_file():
    widest = b"name,sku,description" + b"," * 1_997 + b"\n"
    assert len(detect(widest).columns.header) == 2_000
    with pytest.raises(DeliveryRefusedError, match="names 2,001 columns; at most 2,000"):
        detect(b"," + widest)


def test_an_alias_is_as_good_as_a_name():
    dialect = detect(
        b"Title,ART. NO.,text\n", name=["title"], sku=["art.no."], description=["Text"]
    )
    assert dialect.columns.positions == {"name": 0, "sku": 1, "description": 2}
