"""A process that merges into a lake is killed: all of its delivery is in the tables, or nothing."""

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from lfp_pipeline.engine import Engine
from testing.engine import engine_at, ingest_pending, land, tables
from testing.expected_tables import File, assert_tables_match
from testing.lakes import new_lake
from testing.postgres import PostgresServer
from testing.processes import PROJECT

pytest.importorskip("psycopg")
pytest.importorskip("duckdb_extension_ducklake")

FIRST = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", ""), ("", "", "x")))
SECOND = File("b.csv", 2, (("s1", "Ann", ""), ("s2", "Ann", "x"), ("s4", "Dot", ""), ("s9",)))

MERGE = """
import os, signal, sys, threading, time
from pathlib import Path
from lfp_pipeline.warehouse.lake import Lake
from testing.engine import LOG, engine_at, ingest_pending

folder, kill_at, when = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
calls = commits = 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Killing:
    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()

    def _call(self, name, *arguments):
        global calls, commits
        calls += 1
        commits += name == "commit"
        is_write = name == "commit" and commits == 2  # The first one ends the matching.
        is_due = calls == kill_at or (kill_at == 0 and is_write)
        if is_due and when == "before":
            die()
        if is_due and when.startswith("during"):
            threading.Timer(float(when.removeprefix("during")), die).start()
        result = getattr(self._connection, name)(*arguments)
        if is_due:
            time.sleep(1 if when.startswith("during") else 0)
            die()
        return result

    def execute(self, *arguments):
        self._call("execute", *arguments)
        return self

    def begin(self):
        return self._call("begin")

    def commit(self):
        return self._call("commit")


connect = Lake.connect
Lake.connect = lambda self, config=None: Killing(connect(self, config))
ingest_pending(engine_at(folder, threads=1))
"""

_MORE = [("before", 3), ("after", 3), *((f"during{seconds}", 0) for seconds in (0.001, 0.004))]


@pytest.fixture
def engine(tmp_path: Path, postgres: PostgresServer) -> Engine:
    new_lake(tmp_path, postgres)
    return engine_at(tmp_path)


def merge_and_die(engine: Engine, call: int, when: str) -> bool:
    """Merge what is pending in a process that dies at a call; return whether it did."""
    command = [sys.executable, "-c", MERGE, str(engine.settings.data_dir), str(call), when]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def check_kill(engine: Engine, files: list[File], new: File, call: int, when: str) -> bool:
    """Merge a file in a process that dies, and then again; return whether the process died."""
    before = tables(engine)
    land(engine, new)
    has_died = merge_and_die(engine, call, when)
    after = tables(engine)
    if after != before:
        assert_tables_match([*files, new], after)
    ingest_pending(engine)
    assert_tables_match([*files, new], tables(engine))
    return has_died


@pytest.mark.parametrize(
    ("when", "call"),
    [
        ("before", 0),
        ("after", 0),
        *(pytest.param(when, call, marks=pytest.mark.slow) for when, call in _MORE),
    ],
)
def test_a_merge_that_is_killed_at_a_step_leaves_all_or_nothing(
    engine: Engine, when: str, call: int
) -> None:
    """Call 0 is the commit of what was written, which `during` is killed after some seconds."""
    land(engine, FIRST)
    ingest_pending(engine)
    assert check_kill(engine, [FIRST], SECOND, call, when)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_statement_leaves_all_or_nothing(engine: Engine, when: str) -> None:
    random, files, call = Random(3), [FIRST], 0
    land(engine, FIRST)
    ingest_pending(engine)
    has_died = True
    while has_died:
        call += 1
        rows = tuple((f"s{random.randrange(9)}", f"n{random.randrange(3)}", "") for _ in range(5))
        new = File("b.csv", call + 2, rows)
        has_died = check_kill(engine, files, new, call, when)
        files.append(new)
    assert call > 30
