"""Combinations of oddities in one file: each is read as if it were alone."""

import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from testing.reader import FileRead, read

HEADER = "sku,name,description\n"
MARK = "\ufeff"


def skus(found: FileRead) -> list[str]:
    return [sku for _, sku, _, _ in found.winners]


def read_text(text: str, **others: object) -> FileRead:
    return read(text.encode(), **others)


@pytest.mark.parametrize("files", [2, 4, 12])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_quoted_headers_after_byte_order_marks_are_repeated_headers(files: int, delimiter: str):
    file = '{}"sku","name","description"\n"s{}","Lamp","Oak"\n'.replace(",", delimiter)
    found = read_text("".join(file.format(MARK, number) for number in range(files)))
    assert skus(found) == [f"s{number}" for number in range(files)]
    assert (found.headers, found.rejects) == (files - 1, [])


def test_a_repeated_header_may_have_the_only_quotes():
    found = read_text(HEADER + f's1,Lamp,Oak\n{MARK}"SKU","Name","Description"\ns2,Desk,Elm\n')
    assert (skus(found), found.headers, found.rejects) == (["s1", "s2"], 1, [])


@pytest.mark.parametrize("end", ["", ","])
@pytest.mark.parametrize("head_end", ["", ","])
def test_frequent_repeated_headers_do_not_count_for_habits(end: str, head_end: str):
    header = HEADER.replace("\n", head_end + "\n")
    rows = [f"s{number},Lamp,Oak{end}\n" for number in range(40)]
    found = read_text("".join(header + "".join(rows[at : at + 5]) for at in range(0, 40, 5)))
    assert (len(found.winners), found.headers, found.rejects) == (40, 7, [])


@pytest.mark.parametrize(
    "header", ["sku,name,price,description", "sku,name,desc,price", "name,sku,description,price"]
)
def test_a_later_header_with_other_columns_refuses_the_file(header: str):
    with pytest.raises(DeliveryRefusedError, match="Row 2 is a header"):
        read_text(f"sku,name,description,price\ns1,Lamp,Oak,1\n{header}\ns2,Desk,Elm,2\n")


@pytest.mark.parametrize("header", ["name,sku,description,price", "sku,name,price,description"])
def test_a_later_header_with_more_columns_refuses_the_file(header: str):
    rows = "s1,Lamp,Oak\n" * 20
    with pytest.raises(DeliveryRefusedError, match="The record at byte 261 is a header"):
        read_text(f"{HEADER}{rows}{header}\ns2,Desk,Elm\n")


def test_a_workbook_is_named_with_any_fallback_encoding():
    with pytest.raises(DeliveryRefusedError, match="Excel workbook"):
        read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), fallback_encoding="cp1252")


@pytest.mark.parametrize(
    "text",
    ['"first\nd,e,f\ng,h,i";', '"text\na,b,c\nd,e,z" tail', '"<p style="x">\na,b,c\nd,e,f</p>"'],
)
def test_a_text_with_a_slip_of_quotes_makes_no_products(text: str):
    rows = f's1,Lamp,"Oak"\nx1,y1,{text}\ns2,Desk,Elm\n'
    found = read_text(HEADER + rows, max_reject_share=1)
    assert (skus(found), len(found.rejects)) == (["s1", "s2"], 1)


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_header_inside_a_quoted_title_is_ignored(end: str):
    title = f'"Report\nsku,name,description\nx,y,z{end}"\n'
    found = read_text(title + HEADER + "s1,Lamp,Oak\n")
    assert skus(found) == ["s1"]
    assert found.notes[0].startswith(f"Skipped {title.count(chr(10))} lines above the header")


def test_byte_order_marks_between_title_and_header_are_no_lines():
    found = read_text(f"Prices\n{MARK}{HEADER}s1,Lamp,Oak\n")
    assert skus(found) == ["s1"]
    assert found.notes[0] == "Skipped 1 line above the header; one of them is: Prices"


def test_header_and_some_rows_may_end_in_a_delimiter():
    rows = [f"a{number};Lamp;Oak;\n" for number in range(15)]
    rows += [f"b{number};Lamp;Oak\n" for number in range(32)]
    found = read_text("sku;name;description;\n" + "".join(rows))
    assert (len(found.winners), found.rejects) == (47, [])


def test_inch_marks_in_rows_narrower_than_the_header_are_read():
    rows = "".join(f's{number};TV 27";Flat\n' for number in range(20))
    found = read_text("sku;name;description;\n" + rows + 'z;"A;b";d\n')
    assert (len(found.winners), found.rejects) == (21, [])


def test_three_damaged_rows_among_many_are_rejected():
    rows = [f'"s{number}","Chair","Oak"\n' for number in range(200)]
    rows += [f'"z{number}",Chair {number}","Oak {number}"\n' for number in range(3)]
    found = read_text(HEADER + "".join(rows))
    assert (len(found.winners), len(found.rejects)) == (200, 3)


def test_backslashes_may_escape_quotes_in_the_header():
    rows = "".join(f'"s{number}","TV 27\\"","Flat","x"\n' for number in range(5))
    found = read_text('"sku","name","description","size \\"cm\\""\n' + rows)
    assert {name for _, _, name, _ in found.winners} == {'TV 27"'}
    assert len(found.winners) == 5


@pytest.mark.parametrize("size", [100, 2_000])
@pytest.mark.parametrize(("newline", "last_end"), [("\n", ""), ("\r\n", "\n"), ("\r\n", "")])
def test_a_record_may_be_as_long_as_the_setting_with_any_line_end(
    size: int, newline: str, last_end: str
):
    last = "s2,Desk," + "x" * (size - len("s2,Desk,") - len(last_end)) + last_end
    text = f"sku,name,description{newline}s1,bad{newline}s3,Lamp,Oak{newline}{last}"
    found = read_text(text, max_record_bytes=size, max_reject_share=1, max_description_length=size)
    assert (skus(found), len(found.rejects)) == (["s3", "s2"], 1)


def test_many_columns_leave_room_for_bad_records_under_a_low_limit():
    columns = ["sku", "name", "description", *(f"x{number}" for number in range(90))]
    row = ",".join(["s1", "Lamp", "Oak", *[""] * 90])
    text = ",".join(columns) + f"\nbad\n{row}\n"
    found = read_text(text, max_record_bytes=200, max_reject_share=1)
    assert (skus(found), len(found.rejects)) == (["s1"], 1)
    found = read_text(text, max_record_bytes=110, max_reject_share=1)
    assert (skus(found), len(found.rejects)) == (["s1"], 1)


def test_a_refusal_names_the_line_of_a_header_below_the_searched_lines():
    text = "note\n" * 24 + HEADER + "s1,Lamp,Oak\n"
    with pytest.raises(DeliveryRefusedError, match="Set LFP_HEADER_SEARCH_LINES=25"):
        read_text(text)
    assert skus(read_text(text, header_search_lines=25)) == ["s1"]
