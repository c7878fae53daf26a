"""What commands print: tables and texts that fit, JSON, and messages of errors."""

import json
import math
import threading
import time

import duckdb
import pytest

from lfp_pipeline.cli.output import (
    UsageProblem,
    exit_code_and_message,
    fit,
    json_text,
    print_table,
    say,
)


def test_a_table_fits_by_shortening_the_longest_texts(capsys: pytest.CaptureFixture[str]):
    print_table(("id", "name", "n"), [("a" * 30, "b" * 200, 1), ("a", "b", None)], whole=("id",))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "name", "n"]
    assert first == f"{'a' * 30}  {'b' * 64}…  1"
    assert second.split() == ["a", "b"]


def test_a_table_of_whole_texts_may_be_wider(capsys: pytest.CaptureFixture[str]):
    print_table(("id",), [("a" * 200,)], whole=("id",))
    assert "a" * 200 in capsys.readouterr().out


def test_control_characters_in_a_table_are_escaped(capsys: pytest.CaptureFixture[str]):
    print_table(("a",), [("\x1b[2J\n",)])
    assert capsys.readouterr().out == "a\n\\x1b[2J\\n\n"


def test_control_characters_in_the_name_of_a_column_are_escaped(
    capsys: pytest.CaptureFixture[str],
):
    print_table(("\x1b]0;pwned\a",), [("a",)])
    assert capsys.readouterr().out == "\\x1b]0;pwned\\x07\na\n"


def test_messages_are_escaped_with_their_lines(capsys: pytest.CaptureFixture[str]):
    say("one\ntwo \x1b[2J")
    UsageProblem("three \x1b[2J").show()
    assert capsys.readouterr().err == "one\ntwo \\x1b[2J\nError: three \\x1b[2J\n"


def test_a_large_cell_is_cut_at_once(capsys: pytest.CaptureFixture[str]):
    begin = time.monotonic()
    print_table(("a", "b"), [("\x1b" * 10_000_000, "x" * 10_000_000)])
    assert time.monotonic() - begin < 2
    assert len(capsys.readouterr().out.splitlines()[1]) == 100


def test_long_lines_go_on_indented_and_words_stay_whole():
    text = f"title\n\n  {'word ' * 30}\n  {'x' * 120}"
    title, empty, first, second, long = fit(text).splitlines()
    assert (title, empty, long) == ("title", "", f"  {'x' * 120}")
    assert len(first) <= 100
    assert second.startswith("    word")


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [math.nan]}, ("x", -math.inf)])
def test_numbers_that_json_lacks_are_null(value: object):
    assert "null" in json_text(value)
    json.loads(json_text(value), parse_constant=pytest.fail)


def test_unprintable_characters_are_escaped_in_json():
    text = "a\x9b\u202e\udce9\x7fé"
    shown = json_text([text])
    assert shown.encode().decode().isprintable()
    assert "é" in shown
    assert json.loads(shown) == [text]


def test_an_interrupted_query_is_no_fault_of_the_program():
    with duckdb.connect() as connection:
        timer = threading.Timer(0.2, connection.interrupt)
        timer.start()
        with pytest.raises(duckdb.InterruptException) as interrupted:
            connection.sql("FROM range(1000000000) a, range(1000000000) b").count("*").fetchall()
        timer.join()
    assert exit_code_and_message(interrupted.value) == (1, "Aborted!")
    assert exit_code_and_message(RuntimeError("Query interrupted")) == (1, "Aborted!")
    assert exit_code_and_message(RuntimeError("other")) == (None, "")
