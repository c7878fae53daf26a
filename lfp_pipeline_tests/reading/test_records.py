"""The grammar of records, and the diagnosis of bad ones."""

import re
import time

import pytest

from lfp_pipeline.reading.bad_records import DiagnosingGrammar
from lfp_pipeline.reading.records import RecordForm
from testing.cases import first_fast


def grammar_of(width: int = 3, fewest: int | None = None, **form: object) -> DiagnosingGrammar:
    """Return the grammar of records with commas and line feeds, unless `form` differs."""
    parts = {"delimiter": b",", "newline": b"\n"} | form
    return DiagnosingGrammar(
        RecordForm(width=width, fewest=width if fewest is None else fewest, **parts)  # type: ignore[arg-type]
    )


THREE = grammar_of()
BARE = grammar_of(bare_quotes=True)
SHORT = grammar_of(3, 2)
TRAILING = grammar_of(4, last_empty=True)
BACKSLASH = grammar_of(backslash=True)


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (b"a,b,c", ["a", "b", "c"]),
        (b"", [""]),
        (b",", ["", ""]),
        (b'"a","b,c"', ["a", "b,c"]),
        (b'  "a ""b"""  , c ', ['a "b"', "c"]),
        (b'5" x,"y\nz"', ['5" x', "y\nz"]),
        (b'="007",b', ['="007"', "b"]),
        (b"\xff,b", ["\ufffd", "b"]),
    ],
)
def test_fields_are_unquoted_and_trimmed(record: bytes, values: list[str]):
    assert grammar_of(1).fields(record) == values


def test_values_keep_spaces_inside_quotes_and_around_unquoted_values():
    assert grammar_of(1).values(b' "  a " , b ') == ["  a ", " b "]


def test_a_backslash_escapes_quotes_and_backslashes_only():
    assert BACKSLASH.values(rb'"a\"b","c\\","\n"') == ['a"b', "c\\", "\\n"]


@pytest.mark.parametrize(
    ("record", "plain"),
    [
        (b"a, b ,c", b"a, b ,c"),
        (b' "a" ,  "b"" "  , c', b'"a","b"" ", c'),
        (b'5" x,b,', b'5" x,b,'),
    ],
)
def test_a_plain_record_has_no_spaces_around_quotes(record: bytes, plain: bytes):
    assert BARE.plain(record) == plain


@pytest.mark.parametrize(
    ("buffer", "run"),
    [
        (b"a,b,c\nd,e,f\n", 12),
        (b"a,b,c\nd,e\n", 6),
        (b'a,b,"x\ny"\n\n\nd,e,f\n', 10),
        (b"a,b,c\nd,e,f", 6),
        (b"a,b,c\r\n", 0),
        (b'a, "b",c\n', 0),
        (b"a,b,c,\n", 0),
        (b'a,b,"c', 0),
        (b'a,b,"c"d\n', 0),
        (b'5",b,c\n', 0),
        (b'a,b,="c"\n', 9),
        (b'a,b,"\n"\n', 8),
    ],
)
def test_a_run_ends_before_the_first_record_that_is_not_plain(buffer: bytes, run: int):
    assert THREE.plain_run_end(buffer, 0, len(buffer)) == run


def test_a_run_ends_before_a_given_offset():
    assert THREE.plain_run_end(b"a,b,c\n" * 3, 0, 14) == 12


def test_a_run_is_at_most_as_long_as_the_longest_record():
    grammar = grammar_of(max_bytes=100)
    assert grammar.plain_run_end(b"a,b,c\n" * 100, 0, 600) == 96


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("records", [0, 1, 3, 4, 5, 65_536, 70_001])
def test_records_are_counted_and_skipped(newline: bytes, records: int):
    grammar = grammar_of(newline=newline)
    record = b'a,"' + newline + b'",c' + newline
    buffer = record * records + newline * 2
    assert grammar.count(buffer, 0) == records
    assert grammar.skip(buffer, 0, records) == records * len(record)
    assert grammar.skip(buffer, 0, records + 1) is None
    assert grammar.count(buffer + b"a,b,c", 0) == records + 1
    assert grammar.count(buffer + b"a,b", 0) is None


@pytest.mark.parametrize(
    ("buffer", "filled"),
    [
        (b"a,b,c\nd,e,f\n", (2, 12)),
        (b"\n\na,b,c\r\nd,e,f\rx", (2, 15)),
        (b'a,b,"x\ny"\n', (1, 10)),
        (b"a,b,c", (0, 0)),
        (b"a,b\n", (0, 0)),
        (b'5",b,c\n', (0, 0)),
        (b'a,b,"c\n"\n', (1, 9)),
        (b'a,b,"c,"\n', (1, 9)),
        (b",,\na,b,c\n", (0, 0)),
        (b' ,"\t",\na,b,c\n', (0, 0)),
        ("\ufeff,,\n".encode(), (0, 0)),
        (b"a,b,c\n,,\nd,e,f\n", (1, 6)),
    ],
)
def test_skip_filled_counts_good_records_that_are_not_blank(buffer: bytes, filled: tuple[int, int]):
    assert THREE.skip_filled(buffer, 0) == filled


@pytest.mark.parametrize(
    ("buffer", "ends"),
    [
        (b"a,b,c\nx", (5, 6)),
        (b"a,b,c\r\nx", (5, 7)),
        (b"a,b,c\rx", (5, 6)),
        (b"a,b,c", (5, 5)),
        (b'a, "b" ,c\nx', (9, 10)),
        (b'="1",="",="x y"\n', (15, 16)),
        (b"a,b\n", None),
        (b"a,b,c,\n", None),
        (b"a,b,c,d\n", None),
        (b"a,b,c, \n", None),
        (b'a, "b" ,c,,""\nx', None),
        (b'a,b,"c\n', None),
        (b'5" x,b,c\n', None),
        (b'="1"x,b,c\n', None),
        (b' ="1",b,c\n', None),
    ],
)
def test_a_good_record_ends_with_any_line_end(buffer: bytes, ends: tuple[int, int] | None):
    assert THREE.good_record(buffer, 0) == ends


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        (SHORT, [b"a,b", b"a,b,c", b"a,"], [b"a", b"a,b,c,", b"a,b,c,d"]),
        (TRAILING, [b"a,b,c,", b'a,b,c,""', b'a,b,c, "" '], [b"a,b,c", b"a,b,c,d", b"a,b,c,,"]),
        (BARE, [b'5",b"b,c"', b'a"b"c,,'], [b'"a"b,,', b'"a,b,c']),
        (BACKSLASH, [rb'"a\"",b,c', rb'a\,b,"\\"'], [rb'"a\",b,c', rb'"a""b",c,d', rb"\"a,b,c"]),
    ],
    ids=["short", "trailing", "bare", "backslash"],
)
def test_a_good_record_has_the_form_of_its_file(
    grammar: DiagnosingGrammar, good: list[bytes], bad: list[bytes]
):
    for record in good:
        assert grammar.good_record(record + b"\n", 0) == (len(record), len(record) + 1), record
    for record in bad:
        assert grammar.good_record(record + b"\n", 0) is None, record


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("limit", [100, 2_000_000])
def test_a_record_longer_than_the_limit_is_bad(end: bytes, limit: int):
    grammar = grammar_of(max_bytes=limit)
    record = b"a,b," + b"c" * (limit - 4 - len(end)) + end
    after = b"x" if end else b""
    assert grammar.good_record(record + after, 0) == (len(record) - len(end), len(record))
    longer = b"a" + record
    assert grammar.good_record(longer + after, 0) is None
    bad = grammar.bad_record(longer + after, 0)
    assert (bad.end, bad.reason) == (len(longer), "record too long")
    assert bad.detail == f"longer than {limit:,} bytes"


@pytest.mark.parametrize(
    ("buffer", "end", "reason", "detail"),
    [
        (b"a,b\nx", 4, "missing columns", "2 columns instead of 3"),
        (b'a,"b\n,c"\r\nx', 10, "missing columns", "2 columns instead of 3"),
        (b"a,b,c,d\nx", 8, "too many columns", "4 columns instead of 3"),
        (b"a,b,c,\nx", 7, "too many columns", "4 columns instead of 3"),
        (b'a,"b"c\nx', 7, "text after a closing quote", "text after the closing quote at byte 4"),
        (b'a,5" b,c\nx', 9, "stray quote", None),
        (b'a,b,"c\nd,e,f\ng,h,i";\nx', 21, "text after a closing quote", None),
        (b'a,b,"c\nd,5" e,f\n', 16, "text after a closing quote", None),
        (b'a,b,"<p id="x">\nd,e,f\n</p>"\nx', 28, "text after a closing quote", None),
        (b'a,b,"c"d\ne,f,g\nh"\nx', 18, "text after a closing quote", None),
        (b'a,b,"c"d\ne,f,"g"\n', 9, "text after a closing quote", None),
        (b'a,b,"c"d\ne,f, "g"\n', 9, "text after a closing quote", None),
        (b'a,"b\nd"c,"\nx"', 13, "text after a closing quote", None),
        (b'a,"b\nx', 5, "unclosed quote", "the quote at byte 2 is never closed"),
        (b'a,"b,c\n"d",e,f\n', 7, "unclosed quote", None),
        (b'"a\nb",c,"d\n', 11, "unclosed quote", "the quote at byte 8 is never closed"),
    ],
)
def test_a_bad_record_ends_where_its_last_value_ends(
    buffer: bytes, end: int, reason: str, detail: str | None
):
    bad = THREE.bad_record(buffer, 0)
    assert (bad.start, bad.end, bad.reason) == (0, end, reason)
    assert detail in {None, bad.detail}


def test_the_detail_of_a_stray_quote_gives_its_offset():
    bad = THREE.bad_record(b'a,5" b,c\n', 0)
    assert bad.detail == "the quote at byte 3 is inside a value without quotes around it"


def test_a_value_after_the_last_delimiter_has_no_column():
    bad = TRAILING.bad_record(b"a,b,c,d\n", 0)
    assert (bad.reason, bad.detail) == ("too many columns", "4 columns instead of 3")


# Unclosed quotes

ROWS = b"d,e,f\n" * 20


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        pytest.param(b'a,b,"c\n', b"d,e,f\n", id="no quote follows"),
        pytest.param(b'a,b,"c\n', b'd,e,"f"\n', id="the next one opens a value on a later line"),
        pytest.param(b'a,b,"c\n', b'"d",e,f\n', id="the next one opens a line"),
        pytest.param(b'a,b,"c\n', b'd,e,"""f"""\n', id="the next one opens quoted quotes"),
        pytest.param(b'a,b,"c\n', ROWS + b'd,5" e,f\n', id="both lines are whole records"),
        pytest.param(b'a,"b,c\n', ROWS + b'd,e,5" f\n', id="a whole line, cells in quotes"),
        pytest.param(b'a,b,"c\n', b'd,e,"f,g"\n', id="the next one opens a value with a comma"),
    ],
)
def test_the_bad_record_of_an_unclosed_quote_is_one_line(first: bytes, rest: bytes):
    bad = THREE.bad_record(first + rest, 0)
    assert (bad.end, bad.reason) == (len(first), "unclosed quote")


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b'a,b,"c\nd,e,f"\n', id="a text that looks like a record"),
        pytest.param(b'a,b,"c\n"\n', id="a text that ends with a line end"),
        pytest.param(b'a,b,"c,\n,"\n', id="a text that ends with a delimiter"),
        pytest.param(b'a,b,"\n"\n', id="a line end alone"),
        pytest.param(b'a,b,"c\n""d""\ne"\n', id="a text with a quoted word at the start of a line"),
        pytest.param(b'a,b,"""c""\n"\n', id="a text that begins with a quoted word"),
    ],
)
def test_balanced_quotes_enclose_a_value_with_any_content(record: bytes):
    for after in (b"", b"g,h,i\n", b'"g","h","i"\n', b'g,h,"i\nj"\n'):
        assert THREE.good_record(record + after, 0) == (len(record) - 1, len(record)), after


@pytest.mark.parametrize(
    "bad",
    [
        b'a,"one\ntwo,2,2\nthree,3,3\n",x"y\n',
        b'a,"one\ntwo,2,2\n"\n',
        b'a,"one\ntwo,2,2\n",c,d\n',
        b'"a"b,c,"one\ntwo,2,2\nthree"\n',
        b'5" a,c,"one\ntwo,2,2\nthree"\n',
        b'"one ""1""\ntwo,2,2\n""3"",3,3",c\n',
    ],
)
def test_a_bad_record_includes_the_lines_of_its_quoted_values(bad: bytes):
    for after in (b"", b"g,h,i\n", b'"g","h","i"\n'):
        found = THREE.bad_record(bad + after, 0)
        assert (found.start, found.end) == (0, len(bad)), after


@pytest.mark.parametrize(
    ("row", "is_blank"),
    [
        (b"\n", True),
        (b" ", True),
        (b",,,,\r\n", True),
        (b' ,"\t", "" ,\n', True),
        ("\u00a0,\u3000,\ufeff,\u200b,\u2060\n".encode(), True),
        (b"a\n", False),
        (b",.\n", False),
        (b"\0,\n", False),
        (b'"\n', False),
        (b'"",",\n', False),
        (b'"\n"\n', False),
        (b"\xff\n", False),
        (b"\xc2,\xa0\n", False),
        ("\u2800\n".encode(), False),
    ],
)
def test_a_blank_record_has_only_delimiters_and_white_space(row: bytes, is_blank: bool):
    assert THREE.is_blank(row, 0, len(row)) is is_blank


def test_a_tab_delimiter_is_no_white_space():
    tabs = grammar_of(delimiter=b"\t")
    assert tabs.is_blank(b"\t\t \t\n", 0, 5)
    assert tabs.look(b"\t\t \t\n", 0).cells == 4


def test_special_characters_of_patterns_can_be_delimiters():
    for mark in (b"|", b"^", b".", b"$", b"-", b"]", b"\\", b"=", b"#", b"*"):
        grammar = grammar_of(delimiter=mark)
        record = mark.join([b"a", b'"b"', b"c"])
        assert grammar.good_record(record + b"\n", 0) == (7, 8), mark
        assert grammar.fields(record) == ["a", "b", "c"]


DIRT = [
    *(b'"', b'""', b'"""', b',"', b'",', b'"\n', b",", b'"\n,', b'a,"\n', b"\\", b'\\"', b'="'),
    *(b'a,"b\n', b'a,"b"c\n', b'a,"",""\n', b'a"b\n', b'"a\n"b', b'a,b,"c\n', b'a,b,"\n"\n', b" "),
]


@pytest.mark.parametrize("piece", DIRT)
@pytest.mark.parametrize(
    "grammar", first_fast([THREE, BACKSLASH, BARE]), ids=["RFC", "backslash", "bare"]
)
def test_damaged_records_take_linear_time(grammar: DiagnosingGrammar, piece: bytes):
    buffer = piece * (400_000 // len(piece))
    started = time.perf_counter()
    position = 0
    while (position := grammar.first_record_at(buffer, position)) < len(buffer):
        end = grammar.plain_run_end(buffer, position, len(buffer))
        position = end if end > position else grammar.bad_record(buffer, position).end
        assert time.perf_counter() - started < 8


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_counting_good_records_before_a_bad_one_takes_linear_time(newline: bytes):
    buffer = (b'a,"b",' + newline) * 70_000 + b"bad"
    started = time.perf_counter()
    assert THREE.count(buffer, 0) is None
    assert THREE.skip(buffer, 0, 70_001) is None
    assert time.perf_counter() - started < 8


def test_this_python_has_possessive_patterns():
    assert re.fullmatch(rb"(?:a++|b)*+", b"aab")
