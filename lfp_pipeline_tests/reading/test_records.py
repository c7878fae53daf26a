"""Where records begin and end."""

import re
import time

import pytest

from lfp_pipeline.reading.records import MAX_RECORD_BYTES, RecordGrammar

THREE = RecordGrammar(b",", b"\n", 3)


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (b"a,b,c", ["a", "b", "c"]),
        (b"", [""]),
        (b",", ["", ""]),
        (b'"a","b,c"', ["a", "b,c"]),
        (b'  "a ""b"""  , c ', ['a "b"', "c"]),
        (b'5" x,"y\nz"', ['5" x', "y\nz"]),
        (b"\xff,b", ["\ufffd", "b"]),
    ],
)
def test_fields_are_unquoted_and_trimmed(record: bytes, values: list[str]):
    assert RecordGrammar(b",", b"\n", 1).fields(record) == values


@pytest.mark.parametrize(
    ("record", "plain"),
    [
        (b"a, b ,c", b"a, b ,c"),
        (b' "a" ,  "b"" "  , c', b'"a","b"" ", c'),
        (b'a,b,c,,"", ""', b"a,b,c"),
        (b'5" x,b,', b'5" x,b,'),
    ],
)
def test_a_plain_record_has_no_spaces_around_quotes_and_no_surplus_values(
    record: bytes, plain: bytes
):
    assert THREE.plain(record) == plain


@pytest.mark.parametrize(
    ("buffer", "run"),
    [
        (b"a,b,c\nd,e,f\n", 12),
        (b"a,b,c\nd,e\n", 6),
        (b'a,b,"\n"\n\n\nd,e,f\n', 16),
        (b"a,b,c\nd,e,f", 6),
        (b"a,b,c\r\n", 0),
        (b'a, "b",c\n', 0),
        (b"a,b,c,\n", 0),
        (b'a,b,"c', 0),
        (b'a,b,"c"d\n', 0),
    ],
)
def test_a_run_ends_before_the_first_record_that_is_not_plain(buffer: bytes, run: int):
    assert THREE.plain_run_end(buffer, 0, len(buffer)) == run


def test_a_run_ends_before_a_given_place():
    assert THREE.plain_run_end(b"a,b,c\n" * 3, 0, 14) == 12


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("records", [0, 1, 3, 4, 5, 65_536, 70_001])
def test_records_are_counted_and_skipped(newline: bytes, records: int):
    grammar = RecordGrammar(b",", newline, 3)
    record = b'a,"' + newline + b'",c' + newline
    buffer = record * records + newline * 2
    assert grammar.count(buffer, 0) == records
    assert grammar.skip(buffer, 0, records) == records * len(record)
    assert grammar.skip(buffer, 0, records + 1) is None
    assert grammar.count(buffer + b"a,b,c", 0) == records + 1
    assert grammar.count(buffer + b"a,b", 0) is None


@pytest.mark.parametrize(
    ("buffer", "ends"),
    [
        (b"a,b,c\nx", (5, 6)),
        (b"a,b,c\r\nx", (5, 7)),
        (b"a,b,c\rx", (5, 6)),
        (b"a,b,c", (5, 5)),
        (b'a, "b" ,c,,""\nx', (13, 14)),
        (b"a,b\n", None),
        (b"a,b,c,d\n", None),
        (b"a,b,c, \n", None),
        (b'a,b,"c\n', None),
    ],
)
def test_a_good_record_ends_with_any_line_end(buffer: bytes, ends: tuple[int, int] | None):
    assert THREE.good_record(buffer, 0) == ends


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_good_record_is_at_most_two_megabytes_long(end: bytes):
    record = b"a,b," + b"c" * (MAX_RECORD_BYTES - 4 - len(end)) + end
    after = b"x" if end else b""
    assert THREE.good_record(record + after, 0) == (len(record) - len(end), len(record))
    longer = b"a" + record
    assert THREE.good_record(longer + after, 0) is None
    bad = THREE.bad_record(longer + after, 0)
    assert (bad.end, bad.reason) == (len(longer), "record too long")


@pytest.mark.parametrize(
    ("buffer", "end", "reason", "detail"),
    [
        (b"a,b\nx", 4, "missing columns", "2 columns instead of 3"),
        (b'a,"b\n,c"\r\nx', 10, "missing columns", "2 columns instead of 3"),
        (b"a,b,c,d\nx", 8, "too many columns", "4 columns instead of 3"),
        (b'a,"b"c\nx', 7, "text after a closing quote", "text after the closing quote at byte 4"),
        (b'a,"b\nd"c,"\nx"', 11, "text after a closing quote", None),
        (b'a,"b\nx', 5, "unclosed quote", "the quote at byte 2 is never closed"),
        (b'a,"b,c\n"d",e,f\n', 7, "unclosed quote", None),
        (b'"a\nb",c,"d\n', 11, "unclosed quote", "the quote at byte 8 is never closed"),
    ],
)
def test_a_bad_record_ends_where_its_line_ends(
    buffer: bytes, end: int, reason: str, detail: str | None
):
    bad = THREE.bad_record(buffer, 0)
    assert (bad.start, bad.end, bad.reason) == (0, end, reason)
    assert detail in {None, bad.detail}


def test_characters_that_mean_something_in_patterns_can_be_delimiters():
    for mark in (b"|", b"^", b".", b"$", b"-", b"]", b"\\"):
        grammar = RecordGrammar(mark, b"\n", 3)
        assert grammar.good_record(mark.join([b"a", b'"b"', b"c"]) + b"\n", 0) == (7, 8), mark
        assert grammar.fields(mark.join([b"a", b'"b"', b"c"])) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "piece", [b'"', b'""', b'"""', b',"', b'",', b'"\n', b'a,"b\n', b'a,"b"c\n', b'a,"",""\n', b","]
)
def test_no_dirt_takes_more_than_linear_time(piece: bytes):
    buffer = piece * (400_000 // len(piece))
    started = time.perf_counter()
    position = 0
    while (position := THREE.first_record_at(buffer, position)) < len(buffer):
        end = THREE.plain_run_end(buffer, position, len(buffer))
        position = end if end > position else THREE.bad_record(buffer, position).end
    assert time.perf_counter() - started < 8


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_to_count_good_records_before_a_bad_one_takes_linear_time(newline: bytes):
    buffer = (b'a,"b",' + newline) * 70_000 + b"bad"
    started = time.perf_counter()
    assert THREE.count(buffer, 0) is None
    assert THREE.skip(buffer, 0, 70_001) is None
    assert time.perf_counter() - started < 8


def test_the_python_that_we_run_on_has_possessive_patterns():
    assert re.fullmatch(rb"(?:a++|b)*+", b"aab")
