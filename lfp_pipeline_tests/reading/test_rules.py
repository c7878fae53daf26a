"""Row rules: accepted, rejected and skipped rows, and the winner of each sku."""

from collections.abc import Iterator

import duckdb
import pytest

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rules import (
    IRREGULAR,
    blank_row,
    broken_rules,
    clean_values,
    exclude_superseded,
    irregular_parameters,
    null_token_lines,
    skip_blank_rows,
    skip_headers,
    without_null_tokens,
)
from testing.reader import options

LIMIT = RejectLimit(1, 1_000_000, columns=3)
RULES = options(
    max_sku_length=4,
    max_name_length=6,
    max_description_length=8,
    null_tokens=("\\N", "NULL", "#N/A"),
    column_aliases={"name": ["Title"], "description": ["Text"]},
)
LONG = options(column_aliases=RULES.column_aliases)

Row = tuple[str, str, str]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("CREATE TABLE excluded (row_number BIGINT)")
        yield opened


def insert(connection: duckdb.DuckDBPyConnection, *rows: Row, rules: ReadOptions = RULES) -> None:
    """Insert rows as a scan delivers them."""
    connection.execute("CREATE TABLE texts (sku VARCHAR, name VARCHAR, description VARCHAR)")
    connection.executemany("INSERT INTO texts VALUES (?, ?, ?)", rows)
    nulls = {"null_tokens": null_token_lines(rules)}
    cells = [f"{without_null_tokens(cell)} AS {cell}" for cell in ("sku", "name", "description")]
    connection.execute(
        f"CREATE TABLE rows AS SELECT *, {IRREGULAR} AS irregular, "
        f"{blank_row(['sku', 'name', 'description'])} AS blank "
        f"FROM (SELECT {', '.join(cells)} FROM texts ORDER BY rowid)",
        irregular_parameters(rules) | nulls,
    )


def values(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    return connection.execute("SELECT sku, name, description FROM rows ORDER BY rowid").fetchall()


def excluded(connection: duckdb.DuckDBPyConnection) -> list[int]:
    numbers = connection.execute("FROM excluded ORDER BY 1").fetchall()
    return [number for (number,) in numbers]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("a", "b", ""), None),
        (("", "b", "c"), "no sku"),
        (("a", "", "c"), "no name"),
        (("", "", "c"), "no sku"),
        ((" \u00a0", "b", "c"), "no sku"),
        (("a", "\u200b\ufeff", "c"), "no name"),
        (("\u2800", "b", "c"), "no sku"),
        (("\u3164\0", "b", "c"), "no sku"),
        (("a", "\ufe0f", "c"), "no name"),
        (("\\N", "b", "c"), "no sku"),
        (("a", " NULL ", "c"), "no name"),
        (("a", '="NULL"', "c"), "no name"),
        (("a\0", "b", "c"), "NUL byte"),
        (("a", "\0b", "c"), "NUL byte"),
        (("a", "b", "\0"), "NUL byte"),
        (("éééé", "éééééé", "éééééééé"), None),
        (("ééééé", "b", "c"), "sku too long"),
        (("a", "ééééééé", "c"), "name too long"),
        (("a", "b", "ééééééééé"), "description too long"),
        (('="007"', "b", "c"), None),
        (('="00700"', "b", "c"), "sku too long"),
        (("a", "b", '="12345678"'), None),
        (("  aaaa  ", "b", "c"), None),
        (("SKU", "Title", "other"), None),
    ],
)
def test_a_row_that_breaks_a_rule_is_found_with_its_reason(
    connection: duckdb.DuckDBPyConnection, row: Row, reason: str | None
):
    insert(connection, ("a", "b", "c"), row)
    clean_values(connection, RULES)
    broken = broken_rules(connection, RULES, LIMIT)
    assert [(number, why) for number, why, _ in broken] == ([(2, reason)] if reason else [])


def test_the_detail_distinguishes_an_empty_from_an_invisible_value(
    connection: duckdb.DuckDBPyConnection,
):
    insert(connection, ("", "b", "c"), ("\u2800", "b", "c"), ("a", " ", ""), ("a", "\u3164", ""))
    clean_values(connection, RULES)
    assert [detail for *_, detail in broken_rules(connection, RULES, LIMIT)] == [
        "",
        "no visible character",
        "",
        "no visible character",
    ]


def test_an_excluded_row_breaks_no_rule(connection: duckdb.DuckDBPyConnection):
    insert(connection, ("", "b", "c"), ("", "b", "c"))
    connection.execute("INSERT INTO excluded VALUES (1)")
    assert [number for number, _, _ in broken_rules(connection, RULES, LIMIT)] == [2]


def test_more_broken_rows_than_the_limit_refuse_the_file(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lfp_pipeline.reading.reject_limit.MAX_REJECTS", 3)
    insert(connection, *[("", "b", "c")] * 3)
    assert len(broken_rules(connection, RULES, LIMIT)) == 3
    with pytest.raises(DeliveryRefusedError, match=r"'no sku' .* The first is row 1"):
        broken_rules(connection, RULES, LIMIT, rejected=1)


# Skipped rows


@pytest.mark.parametrize(
    "row",
    [
        ("sku", "name", "description"),
        ("SKU", "Title", "Text"),
        ("SKU", "Title", " Text "),
        ("S K U", "Title", "\xa0Text\u2003"),
        ("SKU", "\ufeffTitle", "Text"),
        ("\ufeffSKU\ufeff", "Ti\u200btle", "\ufeffText"),
        ("sku\n", "na\r\nme", "des\tcription"),
    ],
)
def test_a_row_that_repeats_the_header_is_skipped(connection: duckdb.DuckDBPyConnection, row: Row):
    insert(connection, ("a", "b", "c"), row, rules=LONG)
    clean_values(connection, LONG)
    assert skip_headers(connection, LONG) == 1
    assert excluded(connection) == [2]
    assert broken_rules(connection, LONG, LIMIT) == []


@pytest.mark.parametrize(
    "row",
    [
        ("sku", "lamp", "description"),
        ("lamp", "name", "description"),
        ("sku", "sku", "sku"),
        ("name", "name", "name"),
        ("sku1", "name", "description"),
    ],
)
def test_a_row_that_names_only_some_columns_is_a_product(
    connection: duckdb.DuckDBPyConnection, row: Row
):
    insert(connection, ("a", "b", "c"), row, rules=LONG)
    clean_values(connection, LONG)
    assert skip_headers(connection, LONG) == 0


@pytest.mark.parametrize(
    "row",
    [
        ("name", "sku", "description"),
        ("Description", " Title", "SKU"),
        ("sku", "text", "title"),
        ("sku", "name", "other"),
        ("sku", "name", ""),
    ],
)
def test_a_header_in_another_order_refuses_the_file(
    connection: duckdb.DuckDBPyConnection, row: Row
):
    insert(connection, ("a", "b", "c"), row, ("a", "b", "c"), rules=LONG)
    clean_values(connection, LONG)
    with pytest.raises(DeliveryRefusedError, match="Row 2 is a header, and names other columns"):
        skip_headers(connection, LONG)


def test_rows_of_white_space_are_skipped(connection: duckdb.DuckDBPyConnection):
    blank = [("", "", ""), (" ", "\t", "\u00a0"), ("\ufeff", "\u200b", "\u3000")]
    others = [("", "", "x"), ("\0", "", ""), ("\u2800", "", ""), ("a", "b", "")]
    insert(connection, *blank, *others)
    assert skip_blank_rows(connection) == 3
    assert excluded(connection) == [1, 2, 3]


# Values


def test_a_formula_around_a_text_is_unwrapped(connection: duckdb.DuckDBPyConnection):
    formulas = {
        '="007"': "007",
        '=""': "",
        '="say ""hi"""': 'say "hi"',
        '="a" & "b"': '="a" & "b"',
        '="a"b': '="a"b',
        '="a': '="a',
        '="': '="',
        '="""': '="""',
        "=7": "=7",
        '="="': "=",
    }
    insert(connection, *[("x", "y", text) for text in formulas], rules=LONG)
    insert_keys = [(f" {text} ", f"\ufeff{text}", "") for text in formulas]
    clean_values(connection, LONG)
    assert [row[2] for row in values(connection)] == list(formulas.values())
    connection.execute("DROP TABLE rows; DROP TABLE texts")
    insert(connection, *insert_keys, rules=LONG)
    clean_values(connection, LONG)
    assert [row[:2] for row in values(connection)] == [(text, text) for text in formulas.values()]


def test_null_tokens_match_only_whole_values_as_written(connection: duckdb.DuckDBPyConnection):
    insert(
        connection,
        ("\\N", "NULL", "#N/A"),
        ("\\n", "null", "N/A"),
        ("x\\N", "NULL1", "a NULL"),
        ("\\N\nNULL", "\n", "\\N\n"),
        (" \\N ", "NULL\ufeff", " NULL"),
    )
    clean_values(connection, RULES)
    assert values(connection) == [
        ("", "", ""),
        ("\\n", "null", "N/A"),
        ("x\\N", "NULL1", "a NULL"),
        ("\\N\nNULL", "", "\\N\n"),
        ("", "", " NULL"),
    ]


# Winners


def test_the_last_accepted_row_of_a_sku_wins(connection: duckdb.DuckDBPyConnection):
    rows = [("a", "1", ""), ("b", "2", ""), ("a", "3", ""), ("A", "4", ""), ("a", "5", "")]
    insert(connection, *rows)
    connection.execute("INSERT INTO excluded VALUES (5)")
    assert exclude_superseded(connection) == 1
    assert excluded(connection) == [1, 5]


def test_among_many_rows_the_winners_are_those_of_a_dict(connection: duckdb.DuckDBPyConnection):
    connection.execute(
        "CREATE TABLE rows AS "
        "SELECT (hash(i) % 9000)::VARCHAR AS sku, i::VARCHAR AS name FROM range(30000) r(i)"
    )
    last = dict(connection.execute("SELECT sku, rowid + 1 FROM rows ORDER BY rowid").fetchall())
    assert exclude_superseded(connection) == 30_000 - len(last)
    winners = connection.execute(
        "SELECT sku, rowid + 1 FROM rows WHERE rowid + 1 NOT IN (FROM excluded)"
    ).fetchall()
    assert dict(winners) == last
