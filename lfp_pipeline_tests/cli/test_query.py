"""The command `lfp query`: SQL of users can read the tables, and nothing else."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testing.cases import first_fast
from testing.command_line import CommandLine

COMMAND = [sys.executable, "-c", "from lfp_pipeline.cli.main import main; main()", "query"]


def test_a_table_is_aligned_and_cut(stocked: CommandLine):
    ended = stocked.done("query", "FROM name_counts ORDER BY no_of_products DESC, name LIMIT 2")
    assert ended.out.splitlines() == [
        "name       no_of_products",
        "Ann Apple              20",
        "Bob                     1",
    ]
    long = stocked.done("query", "SELECT repeat('x', 500) AS a, repeat('y', 500) AS b, 1 AS n")
    assert {len(line) for line in long.out.splitlines()} == {100}
    many = stocked.done("query", "FROM range(250)")
    assert len(many.out.splitlines()) == 101
    assert "150 more rows; --format csv or json writes all." in many.err
    assert "More than 100,000 more rows" in stocked.done("query", "FROM range(1_000_000)").err


def test_csv_is_exact(stocked: CommandLine):
    sql = """SELECT 'a"b' AS q, 'x,y' AS c, E'two\\nlines' AS l, NULL AS n, true AS t, 1.5 AS d,
        delivered_at FROM products WHERE sku = 'fruit-1'"""
    out = stocked.done("query", sql, "--format", "csv").out
    assert out == (
        'q,c,l,n,t,d,delivered_at\r\n"a""b","x,y","two\nlines",,true,1.5,1970-01-01T00:00:02Z\r\n'
    )
    assert next(csv.reader(io.StringIO(out.partition("\r\n")[2])))[2] == "two\nlines"


def test_csv_of_all_products_is_read_back(stocked: CommandLine):
    out = stocked.done("query", "FROM products", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert len(rows) == 22
    (red,) = [row for row in rows if row["sku"] == "X-10"]
    assert red["description"] == "\x1b[31mred"


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"]])
def test_json_is_one_document(stocked: CommandLine, option: list[str]):
    sql = """SELECT sku, sku, NULL AS n, 'NaN'::DOUBLE AS f, {'a': ['x']} AS s, MAP {1: 'y'} AS m,
        'z'::BLOB AS b, 1200000000000000000000 AS h, now() - now() AS i,
        chr(155) || chr(8238) AS u FROM products WHERE sku = 'fruit-1'"""
    out = stocked.done("query", sql, *option).out
    assert "\u202e" not in out
    assert "\x9b" not in out
    assert json.loads(out) == [
        {
            "sku": "fruit-1",
            "sku_1": "fruit-1",
            "n": None,
            "f": None,
            "s": {"a": ["x"]},
            "m": {"1": "y"},
            "b": "z",
            "h": 1_200_000_000_000_000_000_000,
            "i": "0:00:00",
            "u": "\x9b\u202e",
        }
    ]
    assert stocked.done("query", "FROM products WHERE false", "--json").json == []
    assert len(stocked.done("query", "FROM range(25000)", "--json").json) == 25_000


def test_sql_is_read_from_stdin(stocked: CommandLine):
    assert stocked.done("query", "-", "--json", stdin="SELECT 42 AS a").json == [{"a": 42}]
    assert stocked("query", "-", stdin=" \n").code == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "DESCRIBE products",
        "EXPLAIN FROM products",
        "SUMMARIZE name_counts",
        "WITH a AS (FROM products) SELECT count(*) FROM a",
        "PIVOT products ON name USING count(*) GROUP BY delivery_id",
        "VALUES (1), (2)",
    ],
)
def test_statements_that_read_work(stocked: CommandLine, sql: str):
    assert stocked.done("query", sql).out


def test_a_plan_keeps_its_lines(stocked: CommandLine):
    assert len(stocked.done("query", "EXPLAIN FROM products").out.splitlines()) > 3


WRITING = [
    "INSERT INTO name_counts VALUES ('x', 1)",
    "UPDATE products SET name = 'x'",
    "DELETE FROM products",
    "CREATE TABLE x (a INTEGER)",
    "CREATE TABLE memory.x (a INTEGER)",
    "CREATE TEMP TABLE x (a INTEGER)",
    "DROP TABLE products",
    "COPY products TO '{folder}/out.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/other.duckdb'",
    "INSTALL spatial",
    "LOAD spatial",
    "SET enable_external_access = true",
    "PRAGMA enable_profiling",
    "CALL force_checkpoint()",
    "BEGIN",
    "PREPARE a AS SELECT 1",
    "SELECT 1; DELETE FROM products",
]


@pytest.mark.parametrize("sql", WRITING)
def test_statements_that_write_are_refused(stocked: CommandLine, sql: str):
    before = {path.name for path in stocked.folder.iterdir()}
    ended = stocked("query", sql.format(folder=stocked.folder))
    assert (ended.code, ended.out) == (3, "")
    assert "only reads" in ended.err or "Give one statement" in ended.err
    assert {path.name for path in stocked.folder.iterdir()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_csv('{folder}/secret.csv')",
        "FROM '{folder}/secret.csv'",
        "FROM read_text('{folder}/secret.csv')",
        "FROM glob('{folder}/*')",
        "FROM read_csv('https://127.0.0.1:9/x.csv')",
        "FROM sniff_csv('{folder}/secret.csv')",
        "FROM sqlite_scan('{folder}/data/raw.index', 'deliveries')",
        "EXPLAIN ANALYZE INSERT INTO name_counts VALUES ('x', 1)",
        "WITH t AS (INSERT INTO name_counts VALUES ('x', 1) RETURNING name) FROM t",
        "EXPLAIN ANALYZE COPY products TO '{folder}/out.csv'",
        "FROM statements",  # A variable of the program.
        "SELECT getenv('HOME')",
        "FROM query('SELECT 1; DELETE FROM products')",
    ],
)
def test_sql_reaches_no_file_and_no_variable(stocked: CommandLine, sql: str):
    (stocked.folder / "secret.csv").write_text("secret\n1\n")
    ended = stocked("query", sql.format(folder=stocked.folder))
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) <= 6  # The time of the tables, three lines, the place.
    assert not (stocked.folder / "out.csv").exists()


def test_a_query_that_exceeds_memory_spills(stocked: CommandLine):
    stocked.set(memory_limit="64MB")
    sql = "SELECT count(*) AS n FROM (SELECT DISTINCT range * 7 % 3000017 AS a FROM range(3000000))"
    assert stocked.done("query", sql, "--json").json == [{"n": 3_000_000}]


@pytest.mark.parametrize(
    ("sql", "message", "place"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"', "SELEC"),
        ("SELECT nme FROM products", 'column "nme" not found', "nme"),
        ("FROM product", "Table with name product does not exist", "product"),
        ("SELECT strlen(sku, 1) FROM products", "No function matches", "strlen(sku, 1)"),
        ("SELECT sku,\n\tname,\n\tnme\nFROM products", 'column "nme" not found', "nme"),
        ("SELECT\t'a\tb\x1b',\tnme FROM products", 'column "nme" not found', "nme"),
        (f"SELECT {'sku, ' * 60} nme FROM products", 'column "nme" not found', "nme"),
        (f"SELECT nme, {'sku, ' * 60} FROM products", 'column "nme" not found', "nme"),
    ],
)
def test_a_wrong_statement_shows_its_place(
    stocked: CommandLine, sql: str, message: str, place: str
):
    ended = stocked("query", sql)
    assert (ended.code, ended.out) == (1, "")
    _, *cause, line, pointer = ended.err.split("\n")[:-1]
    assert message in cause[0]
    assert len(cause) <= 3
    assert line.startswith("LINE ")
    start, end = pointer.index("^"), pointer.rindex("^") + 1
    assert line[start:end].startswith(place)
    assert pointer.strip() == "^" * (end - start)
    assert len(line) <= 100


def test_an_error_in_the_middle_of_a_result_is_an_error(stocked: CommandLine):
    sql = (
        "SELECT CASE WHEN range = 150000 THEN error('stop here') ELSE range END FROM range(200000)"
    )
    ended = stocked("query", sql, "--format", "csv")
    assert ended.code == 1
    assert "stop here" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_large_result_is_not_held_in_memory(stocked: CommandLine, form: str):
    sql = "SELECT range AS a, 'some text that takes space ' || range AS b FROM range({rows})"
    script = (
        "import resource; from lfp_pipeline.cli.main import main\n"
        "try: main()\n"
        "finally:\n"
        "    import sys; sys.stderr.write("
        "f'\\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}')"
    )

    def kilobytes(rows: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", script, "query", sql.format(rows=rows), "--format", form],
            cwd=stocked.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        return int(done.stderr.splitlines()[-1])

    assert kilobytes(1_500_000) < kilobytes(1_000) + 60_000


def test_ctrl_c_interrupts_a_query(stocked: CommandLine):
    endless = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b"
    with subprocess.Popen(
        [*COMMAND, endless],
        cwd=stocked.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert "as of" in process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert (out, err.strip()) == ("", "Aborted!")


def test_a_closed_pipe_ends_a_query(stocked: CommandLine):
    command = " ".join([*map(repr, COMMAND), "'FROM range(1000000000)' --format csv | head -2"])
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=stocked.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split() == ["range", "0"]
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_no_control_characters_in_csv(stocked: CommandLine):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "SELECT description FROM products WHERE sku = 'X-10'", "--format", "csv"],
        cwd=stocked.folder,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.wait(20) == 0
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"\x1b" not in shown
    assert b"\\x1b[31mred" in shown


@pytest.mark.parametrize("sql", ["FROM range(1)", "FROM range(100000)"])
@pytest.mark.parametrize("form", first_fast(["table", "csv", "json"]))
def test_output_that_cannot_be_written_is_no_full_data_folder(
    stocked: CommandLine, sql: str, form: str
):
    assert stocked.data.exists()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, sql, "--format", form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == "The output cannot be written: No space left on device."
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_enough_ends_the_output_silently(stocked: CommandLine):
    assert stocked.data.exists()
    process = subprocess.Popen(
        [*COMMAND, "FROM range(100000)", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "range\n"
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert [line for line in said.splitlines() if not line.startswith("The tables are as of")] == []


def test_the_name_of_a_column_does_not_control_the_terminal(stocked: CommandLine):
    assert stocked.data.exists()
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lfp_pipeline",
            "query",
            'SELECT 1 AS "\x1b]0;x\a"',
            "--format",
            "csv",
        ],
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=True,
    )
    os.close(theirs)
    assert done.returncode == 0
    assert os.read(ours, 1 << 16).split() == [b"\\x1b]0;x\\x07", b"1"]
    os.close(ours)
