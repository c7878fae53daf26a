"""A file that kills its reader harms no other, and a reader that was killed harms no file."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

import pytest

from lfp_pipeline.common.process_marks import stale_marks
from lfp_pipeline.engine import Engine
from lfp_pipeline.reading import crash_guard
from lfp_pipeline.reading.crash_guard import marking_in_progress
from testing.engine import LOG, assert_invariants_hold, engine_at, land, tables
from testing.expected_tables import File
from testing.processes import PROJECT, finish, running, start, until

# In place of a bug in native code: some words in a file do to its reader what they say.
HOSTILE_WORDS = """
import os, signal, sys, time
from lfp_pipeline.reading import loading

detect = loading.detect_dialect
in_rehearsal = "lfp_pipeline.reading.crash_guard" in sys.orig_argv

def act(head, *others):
    if b"CRASH" in head:
        signal.raise_signal(signal.SIGSEGV)
    if b"KILL" in head or (b"EAT" in head or b"ONCE" in head) and not in_rehearsal:
        os.kill(os.getpid(), signal.SIGKILL)
    eaten = []
    while b"EAT" in head:
        eaten.append(bytes(1 << 30))
    if b"HANG" in head:
        print("hangs", flush=True)
        time.sleep(1000)
    return detect(head, *others)

loading.detect_dialect = act
"""

INGEST_EVERYTHING = """
import sys
from pathlib import Path
from lfp_pipeline.warehouse import direct_load
from testing.engine import LOG, engine_at

if sys.argv[2] == "directly":
    direct_load.LEAST_BYTES = 0
    direct_load.should_load_directly = lambda *_: True
engine = engine_at(Path(sys.argv[1]), memory_limit="64MB")
for one in engine.ingest_all([], engine.pending_deliveries(LOG), LOG):
    account = one.account
    print(one.delivery.partition_key, account.status, account.error or "", sep="|")
"""

GOOD = [File(f"{n}.csv", n, ((f"s{n}", "Ann", ""), ("s0", f"Bob {n}", ""))) for n in range(2)]


def hostile(word: str) -> File:
    return File("hostile.csv", 1, (("s1", "Eve", word), ("s9", "Eve", word)))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path / "data", memory_limit="64MB")


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Of processes in which hostile words are hostile."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOSTILE_WORDS)
    return {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{PROJECT}"}


Run = Callable[..., "Popen[str]"]


@pytest.fixture
def run(engine: Engine, environment: Mapping[str, str]) -> Run:
    """Start a process that ingests all that has landed and is not in."""

    def started(way: str = "together") -> "Popen[str]":
        folder = engine.settings.data_dir
        return start(INGEST_EVERYTHING, folder, way, environment=environment)

    return started


def died(process: "Popen[str]") -> int:
    process.communicate(timeout=60)
    return -process.returncode


def told(process: "Popen[str]") -> dict[str, tuple[str, str]]:
    """Status and error of each partition."""
    (output,) = finish([process])
    lines = [line.split("|") for line in output.splitlines()]
    return {key: (status, error) for key, status, error in lines}


@pytest.mark.parametrize("way", ["together", pytest.param("directly", marks=pytest.mark.slow)])
def test_a_file_that_crashes_its_reader_is_refused_and_the_others_go_in(
    engine: Engine, run: Run, way: str
):
    land(engine, hostile("CRASH"))
    for file in GOOD if way == "together" else []:
        land(engine, file)
    assert died(run(way)) == signal.SIGSEGV
    assert not engine.warehouse.path.exists() or tables(engine)["products"] == []
    done = told(run(way))
    status, error = done.pop("hostile.csv")
    assert status == "refused"
    assert f"crashed (signal {signal.SIGSEGV:d}" in error
    if way == "together":
        assert done == {file.key: ("merged", "") for file in GOOD}
    ledger = {row[0]: row[5] for row in tables(engine)["ledger"]}
    assert ledger.pop(hostile("CRASH").delivery_id) == "refused"
    assert set(ledger.values()) <= {"merged"}
    assert_products_are_those_of(engine, GOOD if way == "together" else [])


def assert_products_are_those_of(engine: Engine, files: list[File]) -> None:
    """All laws, with the ledger row of the refused delivery taken out."""
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("DELETE FROM warehouse.deliveries WHERE status <> 'merged'")
    assert_invariants_hold(engine, files)


@pytest.mark.slow
def test_of_several_such_files_in_a_batch_each_is_found_at_the_second_try(engine: Engine, run: Run):
    bad = [replace(hostile("CRASH"), key=f"bad-{n}.csv", microseconds=n) for n in range(2)]
    worse = [replace(one, rows=(*one.rows, (one.key, "Eve", ""))) for one in bad]
    for file in [*worse, *GOOD]:
        land(engine, file)
    assert died(run()) == signal.SIGSEGV
    statuses = {key: status for key, (status, _) in told(run()).items()}
    refused, merged = {one.key: "refused" for one in bad}, {one.key: "merged" for one in GOOD}
    assert statuses == refused | merged
    assert_products_are_those_of(engine, GOOD)


def test_it_crashes_no_reader_again_however_often_it_is_tried_or_delivered(
    engine: Engine, run: Run
):
    land(engine, hostile("CRASH"))
    assert died(run()) == signal.SIGSEGV
    assert told(run())["hostile.csv"][0] == "refused"
    land(engine, File("again.csv", 2, hostile("CRASH").rows))
    assert told(run())["again.csv"][0] == "refused"
    (engine.settings.data_dir / "raw").rename(engine.settings.data_dir / "elsewhere")
    land(engine, GOOD[0])
    assert told(run()) == {"0.csv": ("merged", "")}


@pytest.mark.parametrize(
    ("word", "error"),
    [
        pytest.param("KILL", "killed (signal 9", marks=pytest.mark.slow),
        ("EAT", "MB of memory"),
    ],
)
def test_a_file_that_takes_too_much_memory_fails_and_the_others_go_in(
    engine: Engine, run: Run, word: str, error: str
):
    for file in (hostile(word), *GOOD):
        land(engine, file)
    assert died(run()) == signal.SIGKILL
    done = told(run())
    assert done["hostile.csv"][0] == "failed"
    assert error in done.pop("hostile.csv")[1]
    assert done == {file.key: ("merged", "") for file in GOOD}
    assert_products_are_those_of(engine, GOOD)


def test_a_reader_that_died_of_something_else_costs_a_rehearsal_and_no_row(
    engine: Engine, run: Run
):
    files = [hostile("ONCE"), *GOOD]
    for file in files:
        land(engine, file)
    assert died(run()) == signal.SIGKILL
    assert len(marks(engine)) == len(files)
    done = [engine.ingest(delivery, LOG) for delivery in engine.pending_deliveries(LOG)]
    assert len(done) == len(files)
    assert_invariants_hold(engine, files)
    assert marks(engine) == []


def marks(engine: Engine) -> list[Path]:
    return list(engine.settings.work_dir.glob("reading-*"))


def test_while_another_process_reads_a_file_it_may_be_read_here(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    def never(_: object) -> None:
        pytest.fail("A reader that lives has not died.")

    monkeypatch.setattr(crash_guard, "_rehearse", never)
    delivery = land(engine, GOOD[0])
    with marking_in_progress([delivery], engine.settings):
        engine.ingest(delivery, LOG)
    assert_invariants_hold(engine, [GOOD[0]])


@pytest.mark.slow
def test_two_processes_may_rehearse_the_same_file_at_once(engine: Engine, run: Run):
    for file in (hostile("CRASH"), *GOOD):
        land(engine, file)
    assert died(run()) == signal.SIGSEGV
    one, other = map(told, [run(), run()])
    assert (one | other)["hostile.csv"][0] == "refused"
    assert_products_are_those_of(engine, GOOD)


def test_a_rehearsal_that_hangs_is_stopped(
    engine: Engine,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    delivery = land(engine, hostile("HANG"))
    folder = engine.settings.data_dir
    with running(INGEST_EVERYTHING, folder, "together", environment=environment):
        pass  # It hangs, and is killed.
    monkeypatch.setattr(crash_guard, "_LEAST_SECONDS", 3.0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    account = engine.ingest(delivery, LOG).account
    assert account.status == "failed"
    assert "took more than 3 s" in str(account.error)
    assert len(marks(engine)) == 1


def test_a_rehearsal_ends_with_the_run_that_waits_for_it(
    engine: Engine, environment: Mapping[str, str], run: Run
):
    land(engine, hostile("HANG"))
    folder = engine.settings.data_dir
    with running(INGEST_EVERYTHING, folder, "together", environment=environment):
        pass
    with run() as waiting:
        until(lambda: living_workspaces(engine) == 2)
        waiting.kill()
    until(lambda: living_workspaces(engine) == 0)


def living_workspaces(engine: Engine) -> int:
    folder, pattern = engine.settings.work_dir, "run-*.held"
    return len(list(folder.glob(pattern))) - len(stale_marks(folder, pattern))
