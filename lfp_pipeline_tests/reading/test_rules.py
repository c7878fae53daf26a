"""What a row must be, and which of a sku's rows wins."""

import sys
from collections.abc import Iterator

import duckdb
import pytest

from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rules import RowRules, broken_rules, exclude_superseded, trim_keys

LIMIT = RejectLimit(1, 1_000_000, columns=3)
RULES = RowRules(
    max_sku_length=4,
    max_name_length=6,
    max_description_length=8,
    header=["SKU", "Title", "Text"],
)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("CREATE TABLE rows (sku VARCHAR, name VARCHAR, description VARCHAR)")
        opened.execute("CREATE TABLE excluded (row_number BIGINT)")
        yield opened


def insert(connection: duckdb.DuckDBPyConnection, *rows: tuple[str, str, str]) -> None:
    connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("a", "b", ""), None),
        (("", "b", "c"), "no sku"),
        (("a", "", "c"), "no name"),
        (("", "", ""), "no sku"),
        (("a\0", "b", "c"), "NUL byte"),
        (("a", "\0b", "c"), "NUL byte"),
        (("a", "b", "\0"), "NUL byte"),
        (("éééé", "éééééé", "éééééééé"), None),
        (("ééééé", "b", "c"), "sku too long"),
        (("a", "ééééééé", "c"), "name too long"),
        (("a", "b", "ééééééééé"), "description too long"),
        (("SKU", "Title", "Text"), "repeated header"),
        (("SKU", "Title", " Text "), "repeated header"),
        (("SKU", "Title", "\xa0Text\u2003"), "repeated header"),
        (("SKU", "\ufeffTitle", "Text"), "repeated header"),
        (("SKU", "Title", "\ufeffText"), "repeated header"),
        (("SKU", "Title", "other"), None),
    ],
)
def test_a_row_that_breaks_a_rule_is_told_with_its_reason(
    connection: duckdb.DuckDBPyConnection, row: tuple[str, str, str], reason: str | None
):
    insert(connection, ("a", "b", "c"), row)
    broken = broken_rules(connection, RULES, LIMIT)
    assert [(number, why) for number, why, _ in broken] == ([(2, reason)] if reason else [])


def test_a_row_that_is_excluded_is_not_told_again(connection: duckdb.DuckDBPyConnection):
    insert(connection, ("", "b", "c"), ("", "b", "c"))
    connection.execute("INSERT INTO excluded VALUES (1)")
    assert [number for number, _, _ in broken_rules(connection, RULES, LIMIT)] == [2]


def test_all_white_space_that_python_knows_is_trimmed(connection: duckdb.DuckDBPyConnection):
    white = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    others = ["\u200b", "\ufeff", "\0", "x"]
    insert(connection, *[(f"{c}a{c}b{c}{c}", f"{c}", c) for c in [*white, *others]])
    trim_keys(connection)
    rows = connection.execute("SELECT sku, name, description FROM rows ORDER BY rowid").fetchall()
    assert rows == [(f"{c}a{c}b{c}{c}".strip(), c.strip(), c) for c in [*white, *others]]


def test_the_last_accepted_row_of_a_sku_wins(connection: duckdb.DuckDBPyConnection):
    rows = [("a", "1", ""), ("b", "2", ""), ("a", "3", ""), ("A", "4", ""), ("a", "5", "")]
    insert(connection, *rows)
    connection.execute("INSERT INTO excluded VALUES (5)")
    assert exclude_superseded(connection) == 1
    assert connection.execute("FROM excluded ORDER BY 1").fetchall() == [(1,), (5,)]


def test_among_many_rows_the_winners_are_those_of_a_dict(connection: duckdb.DuckDBPyConnection):
    connection.execute(
        "INSERT INTO rows SELECT (hash(i) % 9000)::VARCHAR, i::VARCHAR, '' FROM range(30000) r(i)"
    )
    last = dict(connection.execute("SELECT sku, rowid + 1 FROM rows ORDER BY rowid").fetchall())
    assert exclude_superseded(connection) == 30_000 - len(last)
    winners = connection.execute(
        "SELECT sku, rowid + 1 FROM rows WHERE rowid + 1 NOT IN (FROM excluded)"
    ).fetchall()
    assert dict(winners) == last
