"""The crash guard: a file that kills its reader harms no other, and a killed reader no file."""

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

# These words in a file act on its reader, in place of a bug in native code.
HOSTILE_WORDS = """
import os, signal, sys, time
from lfp_pipeline.reading import loading

detect = loading.detect_dialect
in_trial_read = "lfp_pipeline.reading.crash_guard" in sys.orig_argv

def act(head, *others):
    if b"CRASH" in head:
        signal.raise_signal(signal.SIGSEGV)
    if b"KILL" in head or (b"EAT" in head or b"ONCE" in head) and not in_trial_read:
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
for result in engine.ingest_all([], engine.pending_deliveries(LOG), LOG):
    account = result.account
    print(result.delivery.partition_key, account.status, account.error or "", sep="|")
"""

GOOD = [File(f"{n}.csv", n, ((f"s{n}", "Ann", ""), ("s0", f"Bob {n}", ""))) for n in range(2)]


def hostile(word: str) -> File:
    return File("hostile.csv", 1, (("s1", "Eve", word), ("s9", "Eve", word)))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_at(tmp_path / "data", memory_limit="64MB")


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Environment variables of processes in which the hostile words act."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOSTILE_WORDS)
    return {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{PROJECT}"}


Run = Callable[..., "Popen[str]"]


@pytest.fixture
def run(engine: Engine, environment: Mapping[str, str]) -> Run:
    """Return a function that starts a process which ingests all pending deliveries."""

    def started(way: str = "together") -> "Popen[str]":
        folder = engine.settings.data_dir
        return start(INGEST_EVERYTHING, folder, way, environment=environment)

    return started


def died(process: "Popen[str]") -> int:
    process.communicate(timeout=60)
    return -process.returncode


def results(process: "Popen[str]") -> dict[str, tuple[str, str]]:
    """Return the status and error of each partition."""
    (output,) = finish([process])
    lines = [line.split("|") for line in output.splitlines()]
    return {key: (status, error) for key, status, error in lines}


@pytest.mark.parametrize("way", ["together", pytest.param("directly", marks=pytest.mark.slow)])
def test_a_file_that_crashes_its_reader_is_refused_and_the_others_are_merged(
    engine: Engine, run: Run, way: str
):
    land(engine, hostile("CRASH"))
    for file in GOOD if way == "together" else []:
        land(engine, file)
    assert died(run(way)) == signal.SIGSEGV
    assert not engine.warehouse.path.exists() or tables(engine)["products"] == []
    done = results(run(way))
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
    """Check all invariants, without the ledger row of the refused delivery."""
    with engine.warehouse.session("testing", LOG) as connection:
        connection.execute("DELETE FROM warehouse.deliveries WHERE status <> 'merged'")
    assert_invariants_hold(engine, files)


@pytest.mark.slow
def test_each_of_several_crashing_files_of_a_batch_is_refused_at_the_second_try(
    engine: Engine, run: Run
):
    bad = [replace(hostile("CRASH"), key=f"bad-{n}.csv", microseconds=n) for n in range(2)]
    worse = [replace(file, rows=(*file.rows, (file.key, "Eve", ""))) for file in bad]
    for file in [*worse, *GOOD]:
        land(engine, file)
    assert died(run()) == signal.SIGSEGV
    statuses = {key: status for key, (status, _) in results(run()).items()}
    merged = {file.key: "merged" for file in GOOD}
    assert statuses == merged | {file.key: "refused" for file in bad}
    assert_products_are_those_of(engine, GOOD)


@pytest.mark.slow
def test_a_refused_crashing_file_crashes_no_later_run_or_delivery(engine: Engine, run: Run):
    land(engine, hostile("CRASH"))
    assert died(run()) == signal.SIGSEGV
    assert results(run())["hostile.csv"][0] == "refused"
    land(engine, File("again.csv", 2, hostile("CRASH").rows))
    assert results(run())["again.csv"][0] == "refused"
    (engine.settings.data_dir / "raw").rename(engine.settings.data_dir / "elsewhere")
    land(engine, GOOD[0])
    assert results(run()) == {"0.csv": ("merged", "")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "error"),
    [pytest.param("KILL", "killed (signal 9", marks=pytest.mark.slow), ("EAT", "MB of memory")],
)
def test_a_file_that_takes_too_much_memory_fails_and_the_others_are_merged(
    engine: Engine, run: Run, word: str, error: str
):
    for file in (hostile(word), *GOOD):
        land(engine, file)
    assert died(run()) == signal.SIGKILL
    done = results(run())
    assert done["hostile.csv"][0] == "failed"
    assert error in done.pop("hostile.csv")[1]
    assert done == {file.key: ("merged", "") for file in GOOD}
    assert_products_are_those_of(engine, GOOD)


def test_after_an_unrelated_death_a_trial_read_succeeds_and_no_row_is_lost(
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


def test_two_processes_may_read_the_same_file_without_a_trial_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    def never(*_: object) -> None:
        pytest.fail("The other reader is alive.")

    monkeypatch.setattr(crash_guard, "_trial_read", never)
    delivery = land(engine, GOOD[0])
    with marking_in_progress([delivery], engine.settings.work_dir):
        engine.ingest(delivery, LOG)
    assert_invariants_hold(engine, [GOOD[0]])


@pytest.mark.slow
def test_two_processes_may_trial_read_the_same_file_at_once(engine: Engine, run: Run):
    for file in (hostile("CRASH"), *GOOD):
        land(engine, file)
    assert died(run()) == signal.SIGSEGV
    first, second = map(results, [run(), run()])
    assert (first | second)["hostile.csv"][0] == "refused"
    assert_products_are_those_of(engine, GOOD)


def test_a_hanging_trial_read_is_stopped(
    engine: Engine, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
):
    delivery = land(engine, hostile("HANG"))
    folder = engine.settings.data_dir
    with running(INGEST_EVERYTHING, folder, "together", environment=environment):
        pass  # The process hangs, and is killed.
    monkeypatch.setattr(crash_guard, "_LEAST_SECONDS", 3.0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    account = engine.ingest(delivery, LOG).account
    assert account.status == "failed"
    assert "took more than 3 s" in str(account.error)
    assert len(marks(engine)) == 1


def test_a_trial_read_ends_with_its_parent_process(
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
