"""Invisible characters in values, rows and skus."""

import re
import sys
import unicodedata
from collections.abc import Iterator

import duckdb
import pytest

from lfp_pipeline.reading.white_space import (
    BLANK,
    TRIMMED,
    UNSEEN,
    blank_bytes,
    without_white_space,
)
from testing.csv_oracle.cells import BLANKS
from testing.reader import csv, read

CHARACTERS = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
WHITE = {character for character in CHARACTERS if character.isspace()}
FILLERS = {*"\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"}
"""Letters, marks and a symbol without a shape: Hangul fillers, Khmer vowels, a Braille blank."""

UNSEEN_FORMATS = {
    *map(chr, [0xAD, 0x061C, 0x180E, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F)]),
    *map(chr, [*range(0x2060, 0x2070), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)]),
}

SAMPLES = [
    *sorted(WHITE - {"\r", "\n"}),
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff", "\u00ad", "\u061c"),
    *("\u180e", "\u034f", "\u202a", "\u202e", "\u2064", "\u2069", "\u206f"),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("CREATE TABLE characters (character VARCHAR)")
        opened.execute("INSERT INTO characters SELECT unnest($1::VARCHAR[])", [CHARACTERS])
        yield opened


def matched(connection: duckdb.DuckDBPyConnection, pattern: str) -> set[str]:
    sql = "SELECT character FROM characters WHERE regexp_full_match(character, $1)"
    return {character for (character,) in connection.execute(sql, [pattern]).fetchall()}


def test_each_class_is_a_subset_of_the_next(connection: duckdb.DuckDBPyConnection):
    blank, trimmed, unseen = (matched(connection, each) for each in (BLANK, TRIMMED, UNSEEN))
    assert trimmed == blank | {"\r", "\n"}
    assert trimmed < unseen
    assert blank == BLANKS


def test_all_white_space_of_python_is_trimmed(connection: duckdb.DuckDBPyConnection):
    assert matched(connection, TRIMMED) >= WHITE


def test_only_white_space_and_zero_width_characters_are_trimmed(
    connection: duckdb.DuckDBPyConnection,
):
    others = matched(connection, TRIMMED) - WHITE
    assert {unicodedata.category(character) for character in others - {"\u034f"}} <= {"Cf", "Cn"}
    assert not any(character.isprintable() for character in others - {"\u034f"})


def test_no_character_with_a_shape_is_invisible(connection: duckdb.DuckDBPyConnection):
    """Only white space, controls, formats, selectors, tags and blank letters are invisible."""
    for character in matched(connection, UNSEEN):
        category = unicodedata.category(character)
        is_selector = "VARIATION SELECTOR" in unicodedata.name(character, "")
        assert (
            category in {"Cc", "Cf", "Cn", "Zs", "Zl", "Zp"}
            or character in FILLERS | {"\u034f"}
            or is_selector
        ), hex(ord(character))


def test_controls_fillers_selectors_and_invisible_formats_are_invisible(
    connection: duckdb.DuckDBPyConnection,
):
    unseen = matched(connection, UNSEEN)
    assert unseen >= FILLERS | UNSEEN_FORMATS
    for character in CHARACTERS:
        name = unicodedata.name(character, "")
        if unicodedata.category(character) == "Cc" or "VARIATION SELECTOR" in name:
            assert character in unseen, hex(ord(character))


def test_letters_digits_punctuation_and_symbols_are_visible(connection: duckdb.DuckDBPyConnection):
    unseen = matched(connection, UNSEEN)
    for character in CHARACTERS:
        if unicodedata.category(character)[0] in "LNPS" and character not in FILLERS:
            assert character not in unseen, hex(ord(character))


def test_the_same_characters_are_white_space_in_text_in_sql_and_in_bytes(
    connection: duckdb.DuckDBPyConnection,
):
    trimmed, blank = matched(connection, TRIMMED), matched(connection, BLANK)
    assert without_white_space("".join(CHARACTERS)) == "".join(
        character for character in CHARACTERS if character not in trimmed
    )
    pattern = re.compile(blank_bytes(b","))
    assert {mark for mark in CHARACTERS if pattern.fullmatch(mark.encode())} == blank
    assert pattern.fullmatch("".join(sorted(blank)).encode())


def test_a_delimiter_is_no_white_space():
    tab = re.escape(b"\t")
    assert not re.fullmatch(blank_bytes(tab), b"\t")
    assert re.fullmatch(blank_bytes(tab), "\u00a0 \x0b".encode())


def test_white_space_around_skus_and_names_is_trimmed():
    rows = [(f"{c}La{c}mp{c}{c}", f"{c}A{c}1{c}", f"{c}x{c}") for c in SAMPLES]
    assert read(csv(*rows)).products == [(f"A{c}1", f"La{c}mp", f"{c}x{c}") for c in SAMPLES]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_around_a_quoted_sku_or_name_are_trimmed(end: str):
    found = read(f'name,sku,description\n"{end}Lamp {end}","{end}A-1{end}{end}",x\n'.encode())
    assert found.products == [("A-1", "Lamp", "x")]


@pytest.mark.parametrize("character", ["\0", "\x01", "\x7f", "\u2800", "\u3164", "\ufe0f", "x"])
def test_invisible_characters_other_than_white_space_are_not_trimmed(character: str):
    found = read(csv(("Lamp", f"A{character}", "")))
    if character == "\0":
        assert found.reasons == [(1, "NUL byte")]
    else:
        assert found.products == [(f"A{character}", "Lamp", "")]


INVISIBLE = [
    *SAMPLES,
    *("\0", "\x01\x02", "\x7f", "\x85\x9f", "\u2800\u2800", "\u3164", "\u115f\u1160", "\uffa0"),
    *("\ufe00", "\ufe0f", "\U000e0001", "\U000e0100", "\u17b4", "\u180b", "\ufffb", " \0\u200b"),
    *("\U0001d173", "\U0001bca0", "\u200b \u3164\x01"),
]


def test_an_invisible_sku_or_name_is_rejected():
    rows = [row for value in INVISIBLE for row in (("Lamp", value, "x"), (value, "A-1", "x"))]
    found = read(csv(*rows, ("Chair", "B-2", "")))
    assert found.products == [("B-2", "Chair", "")]
    assert found.reasons == [
        (number, ("no name", "no sku")[number % 2]) for number in range(1, len(rows) + 1)
    ]


@pytest.mark.parametrize(
    "value",
    [
        *("-", ".", "\u0301", "\u0e31", "\ufffd", "\u00a8", "\u2022", "\U0001f468", "\ue000"),
        *("\u200dx", "x\ufe0f", "\u06dd", "\u0600", "\u25a1", "\u3000x", "\u1d159", "\u08e2"),
    ],
)
def test_a_sku_with_a_visible_character_is_accepted(value: str):
    found = read(csv(("Lamp", value, "x")))
    assert found.products == [(value.strip("\u3000\u200d"), "Lamp", "x")]


# Rows of white space


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
def test_rows_of_white_space_of_any_width_are_skipped(width: int):
    rows = "".join(",".join([character * 2] * width) + "\n" for character in SAMPLES)
    head, good = "name,sku,description\n", "Lamp,A-1,x\n"
    found = read(f"{head}{good}{rows}{good}".encode())
    assert (found.rows_read, found.blank, found.rejects) == (2, len(SAMPLES), [])
    assert found.winners == [(len(SAMPLES) + 2, "A-1", "Lamp", "x")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "row", [",", ",,", ",,,", " ", '""', '"",""', ' "" , " " ,"\t"', '"",,,"",', '" "']
)
def test_a_row_of_quotes_around_white_space_is_skipped(row: str, end: str):
    lines = ["name,sku,description", "Lamp,A-1,x", row, "Chair,B-2,", row]
    for last in (end, ""):
        found = read((end.join(lines) + last).encode())
        assert (found.rows_read, found.blank, found.rejects) == (2, 2, [])
        assert [row[:2] for row in found.winners] == [(1, "A-1"), (3, "B-2")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",,x", "no sku"),
        (",,\0", "no sku"),
        ("\u2800,,", "no sku"),
        ("\u2800", "missing columns"),
        (",,,x", "too many columns"),
        (",,'", "no sku"),
        ('"",",', "unclosed quote"),
        ('""x', "text after a closing quote"),
        ("\x01", "missing columns"),
    ],
)
def test_a_row_with_any_other_character_is_not_blank(row: str, reason: str):
    found = read(f"name,sku,description\nLamp,A-1,x\n{row}\nChair,B-2,\n".encode())
    assert (found.blank, found.reasons) == (0, [(2, reason)])


def test_empty_lines_have_no_row_number_and_blank_rows_have_one():
    found = read(b"name,sku,description\n\n,,\nLamp,A-1,x\n\n\n \nChair,B-2,\nbad\n")
    assert [row[:2] for row in found.winners] == [(2, "A-1"), (4, "B-2")]
    assert found.reasons == [(5, "missing columns")]
    assert (found.rows_read, found.blank) == (3, 5)


def test_a_row_with_a_value_in_an_extra_column_is_not_blank():
    found = read(b"name,sku,description,price\nLamp,A-1,x,1\n,,,5\n,,,\n")
    assert found.reasons == [(2, "no sku")]
    assert found.blank == 1


def test_a_row_with_null_tokens_is_not_blank():
    """A row is blank by its written values, and a token is one."""
    found = read(b"name,sku,description\nNULL,NULL,NULL\n,,\nLamp,A-1,x\n", null_tokens=("NULL",))
    assert found.reasons == [(1, "no sku")]
    assert found.blank == 1
