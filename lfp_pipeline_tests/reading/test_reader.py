"""The rows and rejects of files with every known trap for CSV readers."""

import csv as python_csv
import io
import random
from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.errors import DeliveryRefusedError, TooManyRejectsError
from lfp_pipeline.reading import reject_limit
from lfp_pipeline.reading.reader import check_reject_share
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from testing.csv_oracle.contents import expected_contents
from testing.processes import finish, start
from testing.reader import HEADER, csv, delivery_at, read, read_file, reading, settings

TWO = [("A-1", "Lamp", "It shines."), ("B-2", "Chair", "")]
HEAD = "name,sku,description\n"

READ_AND_PRINT = """
import resource, sys, time
from pathlib import Path
from lfp_pipeline.errors import DeliveryRefusedError
from testing.reader import read_file

started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_file(Path(sys.argv[1]), max_reject_share=1)
except DeliveryRefusedError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(type(error).__name__, grown // 1024, time.monotonic() - started)
"""


def lines(*rows: str, newline: str = "\n", head: str = HEAD) -> bytes:
    return (head + "".join(row + newline for row in rows)).encode()


# Headers


def test_columns_are_read_by_name_in_any_order_and_case():
    data = b'SKU ,"Description",\tName\nA-1,It shines.,Lamp\nB-2,,Chair\n'
    assert read(data).products == TWO


def test_an_extra_column_is_ignored_and_named():
    found = read(b"id,name,sku,price,description\n1,Lamp,A-1,9.5,It shines.\n2,Chair,B-2,,\n")
    assert found.products == TWO
    assert found.ignored == ["id", "price"]


def test_empty_values_remain_empty_beside_ignored_columns():
    found = read(b"description,x,sku,name,y\n,,,Lamp,\n,,A-1,,\n,,A-1,Lamp,\n")
    assert found.products == [("A-1", "Lamp", "")]
    assert found.reasons == [(1, "no sku"), (2, "no name")]


def test_line_breaks_in_an_ignored_column_need_no_repair():
    found = read(b'name,sku,notes,description\nLamp,A-1,"one\ntwo\n",It shines.\nChair,B-2,,\n')
    assert found.products == TWO
    assert not found.repaired


def test_a_file_may_have_thousands_of_columns():
    others = tuple(f"x{number}" for number in range(1_997))
    found = read(csv((*others, "Lamp", "A-1", "It shines."), header=(*others, *HEADER)))
    assert found.products == TWO[:1]


def test_invalid_bytes_in_an_ignored_column_reject_only_their_row():
    found = read(b"name,sku,notes,description\nLamp,A-1,\xff,x\nChair,B-2,,\n")
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(1, "invalid encoding")]


def test_a_header_with_line_breaks_is_one_header():
    found = read(b'name,"sku\n(short)",description,sku\nLamp,x,It shines.,A-1\nChair,,,B-2\n')
    assert found.products == TWO


def test_a_stray_quote_in_the_header_loses_no_row():
    found = read(b'name,sku,description,size 5"\nLamp,A-1,It shines.,"x"\nChair,B-2,,\n')
    assert found.products == TWO


def test_an_alias_names_a_column():
    data = b"Title;Article No;Text\nLamp;A-1;It shines.\nChair;B-2;\n"
    aliases = {"name": ["title"], "sku": ["article no"], "description": ["text"]}
    assert read(data, column_aliases=aliases).products == TWO


@pytest.mark.parametrize(
    "again",
    [
        "name,sku,description",
        " NAME , Sku ,Description ",
        "\ufeffname,sku,description",
        "name,s k u,description\u200b",
        "titel,article,description",
        '"name","sku","description"',
        "name,sku,description,",
        "name,sku,description,price,",
    ],
)
@pytest.mark.parametrize("bad", ["", "bad\n"])
def test_a_repeated_header_is_skipped_and_has_a_row_number(again: str, bad: str):
    data = lines("Lamp,A-1,It shines.", again, "Chair,B-2,") + bad.encode()
    found = read(data, column_aliases={"name": ["Titel"], "sku": ["Article"]}, max_reject_share=1)
    assert [row[:2] for row in found.winners] == [(1, "A-1"), (3, "B-2")]
    assert (found.headers, found.blank) == (1, 0)
    assert found.rows_read == 2 + len(found.rejects)
    assert found.reasons == ([(4, "missing columns")] if bad else [])


def test_repeated_headers_in_the_first_and_last_row_are_skipped():
    data = b"name, sku, description\nname, sku, description\nLamp, A-1,It shines.\nChair, B-2,\n"
    found = read(data + b"name,sku,description")
    assert found.products == TWO
    assert (found.headers, found.rejects) == (2, [])


@pytest.mark.parametrize("again", ["sku,name,description", "description, sku, NAME", "name,sku,x"])
@pytest.mark.parametrize("bad", ["", "bad\n"])
def test_a_header_in_another_order_refuses_the_file(again: str, bad: str):
    data = lines("Lamp,A-1,It shines.", again, "C-3,Desk,x") + bad.encode()
    with pytest.raises(DeliveryRefusedError, match="Row 2 is a header, and names other columns"):
        read(data)


def test_a_row_that_repeats_the_header_in_part_is_a_product():
    found = read(lines("name,1,x", "lamp,sku,description", "name,name,", "sku,name1,x"))
    assert [row[1] for row in found.winners] == ["1", "sku", "name", "name1"]


def test_lines_above_the_header_are_skipped_and_noted():
    found = read(b"Price list, 2026\n\n# ours\n" + lines("Lamp,A-1,It shines.", "Chair,B-2,"))
    assert found.products == TWO
    assert found.winners[0][0] == 1
    assert not found.repaired
    assert len(found.notes) == 1
    assert found.notes[0].startswith("Skipped 3 lines above the header; one of them is: ")


@pytest.mark.parametrize("above", ['"a title"\n', 'a "title\n', "one\r\ntwo\n", " \t\r\n", "\r"])
def test_lines_above_the_header_may_have_quotes_and_other_line_ends(above: str):
    found = read(above.encode() + lines("Lamp,A-1,It shines.", "Chair,B-2,"))
    assert found.products == TWO
    assert found.rejects == []


def test_a_title_above_a_quoted_header_with_a_mark_is_skipped():
    data = 'Prices\n\ufeff"name","sku","description"\n"Lamp","A-1","It shines."\n'
    found = read(data.encode())
    assert (found.products, found.rejects) == (TWO[:1], [])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n", b"\xff\xfe"])
def test_an_empty_file_is_refused(data: bytes):
    with pytest.raises(DeliveryRefusedError, match="is empty"):
        read(data)


@pytest.mark.parametrize("data", [b"name,sku,description", b"\xef\xbb\xbfname,sku,description\r\n"])
def test_a_header_alone_gives_no_rows(data: bytes):
    assert read(data).rows_read == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Lamp,A-1,It shines.\n", "no column name and no column sku"),
        (b"name,sku\nLamp,A-1\n", "no column description"),
        (b"<html><body>Not found</body></html>", "is a web page"),
    ],
)
def test_a_file_without_the_wanted_columns_is_refused(data: bytes, reason: str):
    with pytest.raises(DeliveryRefusedError, match=reason):
        read(data)


# Delimiters and line ends


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_detected(delimiter: str, newline: str):
    rows = [HEADER, ("Lamp", "A-1", "It shines."), ("Chair", "B-2", "")]
    found = read("".join(delimiter.join(row) + newline for row in rows).encode())
    assert found.products == TWO
    assert not found.repaired


def test_mixed_line_ends_are_all_line_ends():
    data = b"name,sku,description\r\nLamp,A-1,It shines.\nChair,B-2,\rDesk,C-3,x\r\n"
    found = read(data)
    assert found.products == [*TWO, ("C-3", "Desk", "x")]
    assert found.repaired


def test_another_line_end_does_not_shift_the_offsets_of_rejects():
    found = read(lines("Lamp,A-1,\r", "Lamp,,x", "Chair,B-2,"))
    assert found.products == [("A-1", "Lamp", ""), ("B-2", "Chair", "")]
    assert found.rejects == [(2, 32, 40, "no sku", b"Lamp,,x\n")]


def test_line_breaks_within_values_are_unchanged():
    data = b'name,sku,description\r\nLamp,A-1,"one\ntwo\r\nthree\rfour"\n'
    assert read(data).products == [("A-1", "Lamp", "one\ntwo\r\nthree\rfour")]


@pytest.mark.parametrize("long", [3, 1_999_900])
def test_millions_of_blank_lines_are_no_part_of_a_row(long: int):
    """DuckDB counts blank lines as bytes of the row after them."""
    data = lines("Lamp,A-1,It shines.", "bad") + b"\n" * 2_100_000
    found = read(data + b"Chair,B-2,%s\n\n" % (b"x" * long), max_description_length=2_000_000)
    assert [row[:1] for row in found.products] == [("A-1",), ("B-2",)]
    assert found.reasons == [(2, "missing columns")]


def test_another_line_end_is_no_blank_line():
    found = read(lines("Lamp,A-1,\r", "Chair,B-2,"))
    assert (found.rows_read, found.blank) == (2, 0)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_last_line_needs_no_line_end(newline: str):
    data = csv(("Lamp", "A-1", "It shines."), ("Chair", "B-2", ""), newline=newline)
    assert read(data.removesuffix(newline.encode())).products == TWO


# Quotes


def test_quoted_values_may_contain_anything():
    text = 'a "quote", a comma\nand a line'
    out = io.StringIO(newline="")
    python_csv.writer(out).writerows([HEADER, ("Lamp", "A-1", text)])
    assert read(out.getvalue().encode()).products == [("A-1", "Lamp", text)]


@pytest.mark.parametrize("spaces", [" ", "  ", "     "])
def test_spaces_around_quotes_are_ignored(spaces: str):
    row = f'{spaces}"Lamp, big"{spaces},{spaces}"A-1"{spaces},{spaces}"It shines."{spaces}'
    assert read(lines(row)).products == [("A-1", "Lamp, big", "It shines.")]


def test_a_quote_after_two_spaces_splits_no_value():
    """DuckDB would read three columns here."""
    found = read(lines('Lamp,  "A-1,x"', "Chair,B-2,"))
    assert found.reasons == [(1, "missing columns")]
    assert found.products == [("B-2", "Chair", "")]


@pytest.mark.parametrize("value", ['"a" "b"', '"a" ""', '"a"   "b, c"', '"a\nb" "c"'])
def test_quoted_values_side_by_side_are_not_one_value(value: str):
    """DuckDB would read `a b` here."""
    found = read(lines(f"Lamp,A-1,{value}", "Chair,B-2,"))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(1, "text after a closing quote")]


def test_quoted_words_side_by_side_in_a_value_need_no_repair():
    found = read(lines('Lamp,A-1,"""a"" ""b"""'))
    assert found.products == [("A-1", "Lamp", '"a" "b"')]
    assert not found.repaired


def test_isolated_surplus_delimiters_reject_their_rows():
    found = read(lines("Lamp,A-1,It shines.", "Desk,C-3,x,", "Chair,B-2,", 'Bed,D-4,x,,"",'))
    assert found.products == TWO
    assert found.reasons == [(2, "too many columns"), (4, "too many columns")]


@pytest.mark.parametrize("head", [HEAD, "name,sku,description,\n"])
@pytest.mark.parametrize("bad", ["", "bad"])
def test_a_delimiter_at_the_end_of_every_row_is_harmless(head: str, bad: str):
    rows = ["Lamp,A-1,It shines.,", *["Desk,C-3,x,"] * 20, "Chair,B-2,,"]
    found = read(lines(*rows, *([bad] if bad else []), head=head))
    assert found.products == [TWO[0], ("C-3", "Desk", "x"), TWO[1]]
    assert found.reasons == ([(23, "missing columns")] if bad else [])


def test_quoted_values_decide_whether_a_quote_in_a_value_is_a_character():
    rows = ['Rack 19",R-1,x', "Chair,B-2,"]
    assert read(lines(*rows)).products[0] == ("R-1", 'Rack 19"', "x")
    found = read(lines(*rows, 'Lamp,A-1,"It shines."'))
    assert found.reasons == [(1, "stray quote")]
    assert found.products == [TWO[1], TWO[0]]


@pytest.mark.parametrize("bad", ["", "bad"])
def test_formulas_beside_bare_quotes_are_read_alike_in_clean_and_damaged_files(bad: str):
    rows = ['Lamp,="007",x', 'Rack 19",R-1,x', *(["bad"] if bad else [])]
    found = read(lines(*rows), max_reject_share=1)
    assert found.products == [("007", "Lamp", "x"), ("R-1", 'Rack 19"', "x")]


def test_a_setting_lists_the_null_tokens():
    data = lines("Lamp,A-1,NULL", "Chair,B-2,\\N", "NULL,C-3,x", "Desk, \\N ,x", "Bed,D-4,null")
    found = read(data, null_tokens=("NULL", "\\N"))
    assert found.products == [("A-1", "Lamp", ""), TWO[1], ("D-4", "Bed", "null")]
    assert found.reasons == [(3, "no name"), (4, "no sku")]


@pytest.mark.parametrize("limit", [100, 1_000])
def test_a_setting_limits_the_length_of_a_record(limit: int):
    fits = f"Lamp,A-1,{'x' * (limit - 10)}"
    found = read(lines(fits, f"{fits}xx", "Chair,B-2,"), max_record_bytes=limit)
    assert [row[1] for row in found.winners] == ["A-1", "B-2"]
    assert found.reasons == [(2, "record too long")]


def test_the_line_end_counts_towards_the_record_length_in_clean_and_damaged_files():
    fits = f"Lamp,A-1,{'x' * 90}"
    clean, dirty = (
        read(lines(f"{fits}x", *more), max_record_bytes=100, max_reject_share=1)
        for more in ([], ["bad"])
    )
    assert clean.reasons == [reason for reason in dirty.reasons if reason[0] == 1]


def test_text_after_a_closing_quote_rejects_only_its_row():
    found = read(lines('"Lamp"s,A-1,x', "Chair,B-2,"))
    assert found.products == [("B-2", "Chair", "")]
    assert found.rejects == [(1, 21, 35, "text after a closing quote", b'"Lamp"s,A-1,x\n')]


def test_an_unclosed_quote_rejects_only_its_line():
    found = read(lines("Lamp,A-1,It shines.", 'Sofa,"C-3,x', "Chair,B-2,"))
    assert found.products == TWO
    assert found.rejects == [(2, 41, 53, "unclosed quote", b'Sofa,"C-3,x\n')]


def test_an_unclosed_quote_is_not_closed_by_the_opening_quote_of_another_value():
    found = read(lines('"Sofa,C-3,x', '"Lamp","A-1","It shines."', '"Chair","B-2",""'))
    assert found.products == TWO
    assert found.reasons == [(1, "unclosed quote")]


def test_an_unclosed_quote_is_not_closed_by_an_inch_mark_far_below():
    rows = [f"Lamp,L-{number},x" for number in range(5000)]
    found = read(lines(*rows, '"Sofa,C-3,x', *rows, '19" rack,R-1,x', *rows))
    assert found.rows_read == 15_002
    assert found.reasons == [(5001, "unclosed quote")]
    assert ("R-1", '19" rack', "x") in found.products


def test_a_quoted_text_that_looks_like_a_record_makes_no_product():
    found = read(lines('Lamp,A-1,"one\nSofa,C-3,x",surplus', "Chair,B-2,"))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(1, "too many columns")]


ONE_LINE = [b"A lamp"]
SEVERAL_LINES = [b"A lamp", b'"A lamp, large"', b'"A\nlamp"', b'"""A"" lamp,\n\nlarge\n"']


@pytest.mark.parametrize(
    ("texts", "places"),
    [(ONE_LINE, [300_000]), (SEVERAL_LINES, [300_000, 300_200, 399_998])],
    ids=["one in plain lines", "three among quoted texts"],
)
def test_unclosed_quotes_among_400_000_rows_reject_only_their_lines(
    texts: list[bytes], places: list[int]
):
    """DuckDB alone loses 77,777 rows to the first of these quotes, with one objection."""
    count = 400_000
    rows = [b"Lamp,S-%d,%s\n" % (number, texts[number % len(texts)]) for number in range(count)]
    for index in places:
        rows[index] = b'Lamp,S-%d,"A lamp\n' % index
    data = HEAD.encode() + b"".join(rows)
    found = read(data)
    assert found.rows_read == count
    starts = [data.index(rows[index]) for index in places]
    assert found.rejects == [
        (index + 1, start, start + len(rows[index]), "unclosed quote", rows[index])
        for index, start in zip(places, starts, strict=True)
    ]
    values = [next(python_csv.reader(io.StringIO(text.decode(), newline="")))[0] for text in texts]
    assert found.winners == [
        (number + 1, f"S-{number}", "Lamp", values[number % len(texts)])
        for number in range(count)
        if number not in places
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("quoting", ["all", "as needed", "text"])
def test_an_unclosed_quote_loses_no_other_row(quoting: str, seed: int):
    """The quote may open any value of any row, whatever texts the other rows have.

    Exception: if the next text begins with a line break, RFC 4180 lets its quote close the value.
    """
    rng = random.Random(seed)
    texts = ["plain", "a, b", "two\nlines", 'say "hi"', '"big"', "one\n\nthree,\n", "", '19" deep']
    style = python_csv.QUOTE_ALL if quoting == "all" else python_csv.QUOTE_MINIMAL
    rows, good = [], []
    for number in range(40):
        good.append((f"S-{number}", "Lamp", rng.choice(texts)))
        out = io.StringIO(newline="")
        python_csv.writer(out, quoting=style, lineterminator="\n").writerow(good[-1])
        row = out.getvalue()
        if quoting == "text" and not row.endswith('"\n'):
            row = row.removesuffix(good[-1][2] + "\n") + f'"{good[-1][2]}"\n'
        rows.append(row)
    bad = sorted(rng.sample(range(40), rng.choice([1, 1, 2])))
    for index in bad:
        rows[index] = rng.choice(
            [
                'X-1,Lamp,"never closed\n',
                '"X-1,Lamp,never closed\n',
                'X-1,"Lamp,never closed\n',
                '"X-1","Lamp","never closed\n',
                '"X-1","Lamp","never "closed""\n',
            ]
        )
    found = read(("sku,name,description\n" + "".join(rows)).encode())
    assert found.products == [row for index, row in enumerate(good) if index not in bad]
    assert b"".join(raw for *_, raw in found.rejects).decode() == "".join(rows[n] for n in bad)


# Rows that do not fit


def test_rows_with_missing_or_surplus_columns_are_rejected():
    found = read(lines("Lamp,A-1", "Lamp", "Lamp,A-1,x,y", "Chair,B-2,"))
    assert found.products == [("B-2", "Chair", "")]
    assert found.rejects == [
        (1, 21, 30, "missing columns", b"Lamp,A-1\n"),
        (2, 30, 35, "missing columns", b"Lamp\n"),
        (3, 35, 48, "too many columns", b"Lamp,A-1,x,y\n"),
    ]


def test_a_row_that_is_cut_off_is_rejected():
    found = read(HEAD.encode() + b"Lamp,A-1,It shines.\nChair,B-2,\nSofa,C-")
    assert found.products == TWO
    assert found.rejects == [(3, 52, 59, "missing columns", b"Sofa,C-")]


def test_a_quoted_value_that_is_cut_off_is_rejected():
    found = read(HEAD.encode() + b'Lamp,A-1,It shines.\nChair,B-2,\nSofa,C-3,"So')
    assert found.products == TWO
    assert found.rejects == [(3, 52, 64, "unclosed quote", b'Sofa,C-3,"So')]


def test_rows_without_sku_or_name_are_rejected():
    found = read(lines('Lamp,"",x', ",A-1,x", "Lamp, ,x", '"\u00a0\t",A-1,x', "Chair,B-2,"))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(1, "no sku"), (2, "no name"), (3, "no sku"), (4, "no name")]


@pytest.mark.parametrize("row", ["La\0mp,A-1,x", "Lamp,A\0-1,x", "Lamp,A-1,\0"])
def test_a_zero_byte_rejects_its_row(row: str):
    found = read(lines("Chair,B-2,", row))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(2, "NUL byte")]


@pytest.mark.parametrize("bad", [b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5"])
def test_invalid_utf8_rejects_its_row(bad: bytes):
    row = b"La" + bad + b"mp,A-1,x\n"
    found = read(HEAD.encode() + row + b"Chair,B-2,\n")
    assert found.products == [("B-2", "Chair", "")]
    assert found.rejects == [(1, 21, 21 + len(row), "invalid encoding", row)]


def test_a_record_over_two_megabytes_is_rejected_with_shortened_raw_bytes():
    long = b"Lamp,A-1," + b"x" * 3_000_000 + b"\n"
    found = read(HEAD.encode() + long + b"Chair,B-2,\n")
    assert found.products == [("B-2", "Chair", "")]
    assert found.rejects == [(1, 21, 21 + len(long), "record too long", long[: 1 << 16])]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_quoted_text_longer_than_any_buffer_is_rejected(line_end: str):
    """DuckDB stops at such a text without an objection."""
    text = f'Lamp,A-1,"{f"y{line_end}" * 4_000_000}"'
    found = read(lines(text, "Chair,B-2,", newline=line_end))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [(1, "record too long")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("line", ["some text, and more", "Fake,F-1,Fake"])
def test_a_quoted_text_over_two_megabytes_is_one_reject_with_all_its_lines(line: str, newline: str):
    head = HEAD.replace("\n", newline)
    long = f'Lamp,A-1,"{(line + newline) * 200_000}"{newline}'
    found = read(f"{head}{long}Chair,B-2,{newline}".encode())
    assert found.products == [("B-2", "Chair", "")]
    start, end = len(head), len(head) + len(long)
    assert [reject[:4] for reject in found.rejects] == [(1, start, end, "record too long")]
    assert not found.notes


def test_too_many_rejects_refuse_the_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reject_limit, "MAX_REJECTS", 2)
    assert read(lines("Lamp,,", "Lamp,,")).rows_read == 2
    message = r"More than 2 records are rejected.* 'no sku' .* The first is row 2\."
    with pytest.raises(DeliveryRefusedError, match=message):
        read(lines("Chair,B-2,", "Lamp,,", "Lamp,,", "Lamp,,"))
    with pytest.raises(DeliveryRefusedError, match="More than 2 records"):
        read(lines("bad", "bad", "Lamp,,"))


@pytest.mark.slow
@pytest.mark.parametrize("row", [b'a,"b\n', b"a,,\n", b"\xff\n"])
def test_a_file_of_only_rejects_takes_little_memory_and_time(tmp_path: Path, row: bytes):
    (tmp_path / "file.csv").write_bytes(HEAD.encode() + row * 600_000)
    (said,) = finish([start(READ_AND_PRINT, tmp_path / "file.csv")])
    refused, megabytes, seconds = said.split()
    assert refused == "TooManyRejectsError"
    assert int(megabytes) < 300
    assert float(seconds) < 20


def test_blank_lines_after_a_reject_are_not_part_of_it():
    data = b"name,sku,description\nLamp,,x\n\r\n\r\nChair,B-2,\n"
    assert read(data).rejects == [(1, 21, 29, "no sku", b"Lamp,,x\n")]


def test_a_reject_keeps_the_bytes_of_the_file_not_of_the_repaired_copy():
    data = b'name,sku,description\nbad\nLamp,  "" ,x\r\nLamp,,"y"'
    assert read(data).rejects == [
        (1, 21, 25, "missing columns", b"bad\n"),
        (2, 25, 39, "no sku", b'Lamp,  "" ,x\r\n'),
        (3, 39, 48, "no sku", b'Lamp,,"y"'),
    ]


CUT_OFF = "the file may be cut off. Drop the complete file."
SURPLUS = "take the surplus delimiter out of the header"


@pytest.mark.parametrize(
    ("data", "said", "not_said"),
    [
        (lines("A,A-1,", "B,B-2,") + b"Half Thr,H3", CUT_OFF, SURPLUS),
        (lines("A,A-1,", "B,B-2,") + b'Half,H3,"a te', CUT_OFF, "twice"),
        (lines("A,A-1,", "B,B-2,", ",N4,", ",N5,") + b"Half Thr,H3", CUT_OFF, SURPLUS),
        (lines("A,A-1,", "B,B-2,", "Half Thr,H3"), SURPLUS, CUT_OFF),
        (lines("A,A-1,", "B,B-2", "Half,H3")[:-1], SURPLUS, CUT_OFF),
    ],
)
def test_a_refusal_says_that_a_file_may_be_cut_off(
    tmp_path: Path, data: bytes, said: str, not_said: str
):
    (tmp_path / "file.csv").write_bytes(data)
    delivery, chosen = delivery_at(tmp_path / "file.csv"), settings(tmp_path, max_reject_share=0.1)
    with reading(delivery, chosen) as (found, _), pytest.raises(TooManyRejectsError) as refused:
        check_reject_share(found, chosen.max_reject_share)
    assert said in str(refused.value)
    assert not_said not in str(refused.value)


# Winners


def test_the_last_row_of_a_sku_wins():
    found = read(lines("Lamp,A-1,old", "Chair,B-2,", "Lamp,A-1,new"))
    assert found.winners == [(2, "B-2", "Chair", ""), (3, "A-1", "Lamp", "new")]
    assert found.superseded == 1


def test_a_reject_supersedes_nothing():
    found = read(lines("Lamp,A-1,old", ",A-1,new"))
    assert found.products == [("A-1", "Lamp", "old")]
    assert found.superseded == 0


def test_skus_that_differ_in_case_or_form_differ():
    assert len(read(lines("x,a,", "x,A,", "x,\u00e4,", "x,a\u0308,")).winners) == 4


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_files_in_every_unicode_encoding_are_read(encoding: str):
    text = 'name,sku,description\r\nLämp \u20ac,A-1,"\U0001f600\r\nx"\r\n'
    assert read(text.encode(encoding)).products == [("A-1", "Lämp \u20ac", "\U0001f600\r\nx")]


def test_utf16_with_an_odd_byte_at_its_end_rejects_only_the_last_row():
    data = (HEAD + "Lamp,A-1,It shines.\nChair,B-2,").encode("utf-16") + b"x"
    found = read(data)
    assert found.products == TWO[:1]
    assert found.reasons == [(2, "invalid encoding")]


def test_half_a_utf16_pair_rejects_only_its_row():
    text = HEAD + "Lamp,A-1,\ud83d\nChair,B-2,\n"
    found = read(text.encode("utf-16", "surrogatepass"))
    assert found.products == TWO[1:]
    assert found.reasons == [(1, "invalid encoding")]


def test_the_fallback_encoding_reads_latin1():
    data = "name,sku,description\nLämp,A-1,It shines.\nChair,B-2,\n".encode("latin-1")
    assert read(data).reasons == [(1, "invalid encoding")]
    found = read(data, fallback_encoding="latin-1")
    assert found.products == [("A-1", "Lämp", "It shines."), TWO[1]]
    assert found.notes == ["Read as windows-1252 (setting LFP_FALLBACK_ENCODING)."]


def test_a_utf8_file_is_not_read_as_latin1():
    data = "name,sku,description\nLämp,A-1,\nbad\n".encode()
    found = read(data, fallback_encoding="latin-1")
    assert found.products == [("A-1", "Lämp", "")]
    assert not found.notes


def test_one_invalid_byte_does_not_make_a_utf8_file_latin1(caplog: pytest.LogCaptureFixture):
    data = lines("Zoë,A-1,", "René,B-2,") + b"L\xffmp,C-3,\n"
    found = read(data, fallback_encoding="latin-1")
    assert found.products == [("A-1", "Zoë", ""), ("B-2", "René", "")]
    assert found.reasons == [(3, "invalid encoding")]
    assert caplog.messages == [
        "The file is read as UTF-8: it has 2 characters beyond ASCII, and 1 invalid bytes"
    ]


def test_one_utf8_character_does_not_hide_that_a_file_is_latin1(caplog: pytest.LogCaptureFixture):
    data = "name,sku,description\nZoë,A-1,\nRené,B-2,\n".encode("latin-1") + "ä,C-3,\n".encode()
    found = read(data, fallback_encoding="latin-1")
    assert found.products == [("A-1", "Zoë", ""), ("B-2", "René", ""), ("C-3", "Ã¤", "")]
    assert caplog.messages == [
        "products.csv: Read as windows-1252 (setting LFP_FALLBACK_ENCODING)."
    ]


def test_a_file_with_a_utf8_mark_is_not_read_as_latin1():
    data = "\ufeffname,sku,description\nLämp,A-1,\n".encode() + b"L\xe4mp,B-2,\n"
    found = read(data, fallback_encoding="latin-1")
    assert found.products == [("A-1", "Lämp", "")]
    assert found.reasons == [(2, "invalid encoding")]


# Where files are


def test_the_raw_zone_and_the_database_may_be_links_to_another_disk(tmp_path: Path):
    data, disk = tmp_path / "data", tmp_path / "disk"
    (disk / "raw").mkdir(parents=True)
    data.mkdir()
    (data / "raw").symlink_to(disk / "raw")
    (data / "raw" / "delivery.raw").write_bytes(lines("Lamp,A-1,It shines."))
    duckdb.connect(disk / "products.duckdb").close()
    (data / "products.duckdb").symlink_to(disk / "products.duckdb")
    chosen = settings(data)
    delivery = delivery_at(data / "raw" / "delivery.raw")
    with reading(delivery, chosen, Warehouse.of(chosen)) as (found, connection):
        connection.execute(f"ATTACH '{chosen.database_path}' AS warehouse")
        connection.execute("CREATE TABLE warehouse.rows AS FROM rows")
        assert found.rows_read == 1


def test_texts_full_of_apparent_records_are_read(tmp_path: Path):
    """A thread of DuckDB that begins inside such a text finds no record, and fails."""
    looks_like_records = "\n".join(f"e{row},fake{row},fakename,fd" for row in range(3_000))
    good = "".join(f'"",s{row},n{row},"\n{looks_like_records}\ne,f,x,"\n' for row in range(200))
    path = tmp_path / "file.csv"
    path.write_text(f"extra,sku,name,description\n{good}")
    found = read_file(path)
    assert found.rows_read == len(found.winners) == 200
    assert found.repaired


# Size


def test_a_clean_file_is_read_without_a_repair():
    found = read(csv(*[(f"Lamp {n}", f"S-{n}", 'x 5" y') for n in range(10_000)]))
    assert len(found.winners) == 10_000
    assert not found.repaired


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 4])
def test_damage_in_the_middle_of_a_large_file_is_located_to_the_byte(tmp_path: Path, threads: int):
    """The file fills several of DuckDB's buffers, which have 32 MB each."""
    path = tmp_path / "large.csv"
    count = 600_000
    text = random.Random(0).choices(["plain text", "more, with a comma", "two\nlines"], k=count)
    dirt = {
        290_000: (b'Lamp,D-1,"never closed\n', "unclosed quote"),
        300_000: (b"Lamp,D-2\n", "missing columns"),
        300_001: (b'Lamp,D-3,"x"y\n', "text after a closing quote"),
        310_000: (b"Lamp,,x\r\n", "no sku"),
        450_000: (b"Lamp,D-4,\xff\n", "invalid encoding"),
        599_999: (b"Lamp,D-5,x,y", "too many columns"),
    }
    padding = "x" * 100
    data, rejects = bytearray(HEAD.encode()), []
    for number, description in enumerate(text):
        if number in dirt:
            row, reason = dirt[number]
            rejects.append((number + 1, len(data), len(data) + len(row), reason, row))
            data += row
        else:
            data += f'"Lamp {number}",S-{number},"{description} {padding}"\n'.encode()
    path.write_bytes(data)
    found = read_file(path, threads=threads)
    assert found.rows_read == count
    assert found.rejects == rejects
    rows = (
        (number + 1, f"S-{number}", f"Lamp {number}", f"{description} {padding}")
        for number, description in enumerate(text)
        if number not in dirt
    )
    assert all(row == winner for row, winner in zip(rows, found.winners, strict=True))


def test_the_oracle_agrees_with_python_on_clean_files():
    """This test guards against the same slip in oracle and reader."""
    rng = random.Random(1)
    rows = [
        [f"S-{n}", *("".join(rng.choices('ab ,"\n\ré', k=rng.randint(1, 9))) + "." for _ in "12")]
        for n in range(500)
    ]
    out = io.StringIO(newline="")
    python_csv.writer(out).writerows([("sku", "name", "description"), *rows])
    data = out.getvalue().encode()
    found = expected_contents(
        data, len("sku,name,description\r\n"), ",", ("sku", "name", "description")
    )
    assert [row[1:] for row in found.winners] == [
        (sku, name.strip(), description) for sku, name, description in rows
    ]
    assert read(data).contents == found
