"""What commands print: tables and texts that fit, JSON, and messages of errors."""

import json
import math
import threading

import duckdb
import pytest

from lfp_pipeline.cli.output import UsageProblem, exit_code_and_message, json_text, say
from testing.command_line import CommandLine, start
from testing.dagster_project import PRODUCTS, query
from testing.expected_tables import File


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "command", "code", "shown"),
    [
        ("2>&-", ["ingest"], 0, "a.csv"),
        (">&-", ["ingest"], 0, "Looking at the inbox"),
        ("<&-", ["purge", "--all"], 2, "add --yes"),
        ("<&-", ["purge", "--skus-from", "-"], 2, "has no sku"),
    ],
)
def test_a_closed_standard_stream_is_like_the_null_device(
    lfp: CommandLine, closed: str, command: list[str], code: int, shown: str
):
    lfp.drop(File("a.csv", 1_000_000, (("s1", "Ann", "x"),)))
    ended = start(*command, wrapper=["sh", "-c", f'exec "$@" {closed}', "sh"])
    out, err = ended.communicate(timeout=120)
    assert (ended.returncode, shown in out + err) == (code, True), err
    assert "Traceback" not in err
    if command == ["ingest"]:
        assert len(query(lfp.data, PRODUCTS)) == 1


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
