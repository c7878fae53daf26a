"""The dialect of a file, detected from its header."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect, detect_dialect
from lfp_pipeline.reading.records import RecordForm
from testing.reader import options

HEADER = b"name,sku,description\n"


def detect(
    head: bytes,
    mark_length: int = 0,
    *,
    lines: int = 20,
    delimiter: str | None = None,
    **aliases: list[str],
) -> Dialect:
    chosen = options(column_aliases=aliases, header_search_lines=lines)
    return detect_dialect(head, mark_length, delimiter, chosen)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_delimiter_and_line_end_come_from_the_header(delimiter: str, newline: bytes):
    header = delimiter.join(["name", "sku", "description"]).encode()
    dialect = detect(header + newline + b"a,b,c;d;e|f\n")
    assert (dialect.delimiter, dialect.form.newline) == (delimiter, newline)
    assert dialect.plain_header
    assert dialect.lines_above == 0
    assert dialect.body_start == len(header + newline)
    assert dialect.form == RecordForm(delimiter.encode(), newline, 3, 3)


def test_the_delimiter_that_names_the_columns_wins_over_the_most_frequent():
    dialect = detect(b"name;sku;description;a,b,c,d,e,f,g\n")
    assert dialect.delimiter == ";"
    assert dialect.columns.ignored == ["a,b,c,d,e,f,g"]


def test_only_the_delimiter_of_the_source_is_tried():
    assert detect(b"name^sku^description\n", delimiter="^").delimiter == "^"
    with pytest.raises(DeliveryRefusedError, match=r"the delimiters \^\."):
        detect(HEADER, delimiter="^")


def test_a_byte_order_mark_is_not_part_of_the_first_name():
    dialect = detect(b"\xef\xbb\xbfname,sku,description\n", mark_length=3)
    assert dialect.columns.header == ("name", "sku", "description")
    assert dialect.plain_header
    assert dialect.body_start == 24


@pytest.mark.parametrize(
    "header",
    [
        "\ufeffname,sku,description\n",
        "name,\ufeffsku,description\n",
        "name,sku,description\ufeff\n",
        '\ufeff"name","sku","description"\n',
        '"\ufeffname\ufeff","sku\ufeff",\ufeffdescription\n',
    ],
)
def test_byte_order_marks_anywhere_in_the_header_are_ignored(header: str):
    dialect = detect(header.encode())
    assert dialect.columns.positions == {"name": 0, "sku": 1, "description": 2}
    assert dialect.body_start == len(header.encode())


@pytest.mark.parametrize("line", [b"sep=;\r\n", b'"SEP=;"\n', b"sep=;\r"])
def test_a_separator_line_names_the_delimiter(line: bytes):
    dialect = detect(line + b"name;sku;description\nx")
    assert dialect.delimiter == ";"
    assert dialect.lines_above == 1
    assert dialect.body_start == len(line) + 21


@pytest.mark.parametrize("mark", [b"^", b"~", b":", b"#", b"\\", b".", b"$", b"*", b"!"])
def test_a_separator_line_may_name_any_punctuation_mark(mark: bytes):
    dialect = detect(b"sep=" + mark + b"\n" + mark.join([b"name", b"sku", b"description\n"]))
    assert dialect.delimiter == mark.decode()
    assert dialect.plain_header


@pytest.mark.parametrize("mark", [b'"', b" ", b"a", b"1", b"\xff", b"\n"])
def test_a_separator_line_without_a_punctuation_mark_is_an_ordinary_line(mark: bytes):
    line = b"sep=" + mark + b"\n"
    dialect = detect(line + HEADER)
    assert (dialect.delimiter, dialect.body_start) == (",", len(line + HEADER))


def test_with_a_separator_line_no_other_delimiter_is_tried():
    with pytest.raises(DeliveryRefusedError, match="the delimiters ;"):
        detect(b"sep=;\n" + HEADER)


@pytest.mark.parametrize(
    ("above", "lines", "plain"),
    [
        (b"", 0, True),
        (b"Price list 2026\n", 1, True),
        (b"\n\n", 2, True),
        (b" \t\n", 1, True),
        (b"# made by us, today\n# name, sku\n\n", 3, True),
        (b",,,\n", 1, True),
        (b"name,sku\n", 1, True),
        (b" \t\r\n", 1, True),
        (b"one\rtwo\n", 2, False),
        (b'"quoted"\n', 1, False),
        (b'a quote: "\n', 1, False),
    ],
)
def test_lines_above_the_header_are_skipped_and_counted(above: bytes, lines: int, plain: bool):
    dialect = detect(above + HEADER + b"a,b,c\n")
    assert dialect.lines_above == lines
    assert dialect.body_start == len(above + HEADER)
    assert dialect.plain_header is plain


@pytest.mark.parametrize("lines", [1, 2, 20, 1000])
def test_the_header_search_stops_after_the_configured_lines(lines: int):
    dialect = detect(b"x\n" * (lines - 1) + HEADER, lines=lines)
    assert dialect.lines_above == lines - 1
    with pytest.raises(DeliveryRefusedError, match=r"in the first [\d,]+ line"):
        detect(b"x\n" * lines + HEADER, lines=lines)


def test_the_first_of_several_headers_is_the_header():
    data = b"Products\nname;sku;description\nname,sku,description\n"
    dialect = detect(data)
    assert (dialect.delimiter, dialect.lines_above) == (";", 1)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_the_line_end_is_that_of_the_header_not_of_the_lines_above(newline: bytes):
    dialect = detect(b"title\n" + HEADER.removesuffix(b"\n") + newline)
    assert dialect.form.newline == newline
    assert dialect.plain_header is (newline == b"\n")


@pytest.mark.parametrize(
    "header", [b'name,"sku\nno",description,sku\n', b'name,"sku\rno",description,sku\n']
)
def test_a_header_of_more_than_one_line_is_not_plain(header: bytes):
    dialect = detect(header + b"a,b,c\n")
    assert not dialect.plain_header
    assert dialect.body_start == len(header)


def test_a_header_without_line_end_is_the_whole_file():
    dialect = detect(b"name,sku,description")
    assert (dialect.form.newline, dialect.body_start) == (b"\n", 20)


def test_a_header_may_end_in_delimiters():
    dialect = detect(b"name,sku,description,,\n")
    assert dialect.form.width == 5
    assert dialect.columns.named_width == 3


def test_a_quote_inside_a_column_name_is_a_character():
    dialect = detect(b'name,sku,description,6" deep\nLamp,A-1,"x",y\n')
    assert dialect.columns.header[-1] == '6" deep'
    assert dialect.body_start == 29


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "is empty"),
        (b"\r\n  \n", "is empty"),
        (b"sep=;\n \n", "is empty"),
        (b"name,sku\n", "no column description. It names: 'name, sku'"),
        (b"a,b\n", "no column name and no column sku and no column description"),
        (b"name,sku,description,SKU\n", "names the column sku more than once"),
        (b'"name,sku,description\n', "not a line of CSV|no column"),
        (b'name,"sku"x,description\n', "no column"),
        (b"title\nname,sku\nx\n", "no column description. It names: 'name, sku'"),
        (b"name,sku\n", "first 20 lines .setting LFP_HEADER_SEARCH_LINES., with the delimiters"),
        (b"name,sku\n", "delimiters , ; tab |"),
        (b"a,b\n", "LFP_COLUMN_ALIASES"),
        (b"name^sku^description\n", r"The delimiter seems to be '\^': put a line sep=\^ above"),
        (b"x\nname:sku:description\n", "write `delimiter: ':'` for the file's source"),
    ],
)
def test_an_unusable_header_refuses_the_file(head: bytes, message: str):
    with pytest.raises(DeliveryRefusedError, match=message):
        detect(head)


def test_a_refusal_names_all_missing_columns_and_the_most_similar_line():
    with pytest.raises(DeliveryRefusedError) as refused:
        detect(b"x,y,z\na,description\n1,2\n")
    assert "no column name and no column sku" in str(refused.value)
    assert "It names: 'a, description'" in str(refused.value)


def test_a_refusal_shortens_a_long_line():
    with pytest.raises(DeliveryRefusedError) as refused:
        detect(b"x" * 10_000 + b"\n")
    assert len(str(refused.value)) < 700


def test_an_endless_header_refuses_the_file():
    head = b"name,sku,description," + b"x," * HEAD_BYTES
    with pytest.raises(DeliveryRefusedError, match=r"longer than|no column|not a line"):
        detect(head[:HEAD_BYTES])
    head = b"name,sku,description," + b"x" * HEAD_BYTES
    with pytest.raises(DeliveryRefusedError, match="longer than"):
        detect(head[:HEAD_BYTES])


def test_a_header_of_too_many_columns_refuses_the_file():
    widest = b"name,sku,description" + b"," * 1_997 + b"\n"
    assert len(detect(widest).columns.header) == 2_000
    with pytest.raises(DeliveryRefusedError, match="names 2,001 columns; at most 2,000"):
        detect(b"," + widest)


def test_a_header_may_consist_of_aliases():
    dialect = detect(
        b"Title,ART. NO.,text\n", name=["title"], sku=["art.no."], description=["Text"]
    )
    assert dialect.columns.positions == {"name": 0, "sku": 1, "description": 2}
