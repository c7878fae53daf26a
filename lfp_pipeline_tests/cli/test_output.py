"""What commands print: tables and texts that fit, JSON, and messages of errors."""

import json
import math
import threading

import duckdb
import pytest

from lfp_pipeline.cli.output import UsageProblem, exit_code_and_message, json_text, say


def test_messages_are_escaped_with_their_lines(capsys: pytest.CaptureFixture[str]):
    say("one\ntwo \x1b[2J")
    UsageProblem("three \x1b[2J").show()
    assert capsys.readouterr().err == "one\ntwo \\x1b[2J\nError: three \\x1b[2J\n"


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
