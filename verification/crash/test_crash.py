"""Some kills of each kind, and faults that the checks must detect."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.revert import revert_delivery
from testing.engine import LOG, engine_at, land
from testing.expected_tables import File
from testing.processes import PROJECT, run_module
from testing.raw_folder import path_of
from verification.crash.campaign import DataFolder
from verification.crash.plan import Plan, Typical
from verification.crash.steps import Step
from verification.crash.worker import (
    DISMISS,
    INGEST,
    OPERATIONS,
    PURGE,
    REVERT,
    SENSE,
    Conditions,
    Job,
)

KILLS = 30

# A fault: the ledger has a transaction of its own, after that of the rows.
LEDGER_APART = """
from lfp_pipeline.warehouse import merge

record = merge.record

def record_apart(connection, entries):
    connection.commit()
    connection.begin()
    record(connection, entries)

merge.record = record_apart
"""


def crash(folder: Path, *options: object, path: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return run_module("verification.crash", "--folder", folder, *options, path=path)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, if there is such: a kill is not a power cut."""
    memory = Path("/dev/shm")  # noqa: S108 (nothing in it has to last)
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)  # Half a minute on two idle cores.
def test_kills_at_steps_and_at_random_times_violate_no_invariant(in_memory: Path) -> None:
    ended = crash(in_memory, "--kills", KILLS, "--seed", 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *table, _, line = ended.stdout.splitlines()
    rows = [row for row in table if row.startswith("| ")]
    steps = [row for row in rows if row.count("never") < 2]
    assert len(steps) > 12, ended.stdout
    assert {row.split()[1] for row in rows if "never" not in row} >= set(OPERATIONS), ended.stdout
    assert ": 0 violations." in line
    assert int(line.split(" kills")[0]) >= KILLS
    assert not list(in_memory.glob("1-*"))


@pytest.mark.slow
def test_a_merge_that_is_not_atomic_is_detected_and_its_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LEDGER_APART)
    # In the third folder, processes are killed at the ledger and at the commit.
    ended = crash(tmp_path, "--kills", 20, "--seed", 2, "--first", 2, path=tmp_path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "VIOLATED" in ended.stdout
    assert "check_atomicity" in ended.stdout
    assert "Again: make crash SEED=2 FIRST=2" in ended.stdout
    assert (tmp_path / "2-2" / "data" / "products.duckdb").exists()


def test_marks_of_work_that_was_not_asked_for_are_detected(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "folder", Conditions("any"))
    engine = engine_at(data.path / "data", max_reject_share=1)
    file = File("a.csv", 1, (("s1", "Ann", ""), ("s2", "Bob", ""), ("", "Cid", "")))
    data.history.files.append(file)
    engine.ingest(land(engine, file), LOG)
    data.check_end()

    purge_products(engine, Selection(skus=["s1"]), LOG)
    for asked in [None, Job(REVERT, (file.delivery_id,)), Job(PURGE, ("s2",))]:
        data.history.asked = asked
        with pytest.raises(AssertionError):
            data.check_end()
    data.history.asked = Job(PURGE, ("s1",))
    data.check_end()

    dismiss_delivery(engine, file.delivery_id, LOG)
    with pytest.raises(AssertionError):
        data.check_end()
    data.history.asked = Job(DISMISS, (file.delivery_id,))
    data.check_end()
    marker = path_of(engine.raw_zone.root, file.delivery_id, ".rejects")
    digest = marker.read_text()
    for damaged in (marker.unlink, lambda: marker.write_text("another digest")):
        damaged()
        with pytest.raises(AssertionError):
            data.check_end()
    marker.write_text(digest)
    data.check_end()

    revert_delivery(engine, file.delivery_id, LOG)
    with pytest.raises(AssertionError):
        data.check_end()
    data.history.asked = Job(REVERT, (file.delivery_id,))
    data.check_end()


def test_the_plan_of_a_seed_gives_every_step_its_turn() -> None:
    counts = Counter(dict.fromkeys(Step, 3))
    plan, same = (Plan(3, lambda *_: Typical(counts, counts, 1.0)) for _ in range(2))
    rounds = [round_ for folder in range(24) for round_ in plan.rounds_of(folder)]
    assert rounds[12:24] == list(same.rounds_of(1))
    assert [round_.number for round_ in rounds] == list(range(288))
    assert {len(round_.jobs) for round_ in rounds} == {2, 3}
    victims = [round_.jobs[0] for round_ in rounds]
    assert all(job.is_killed for job in victims)
    assert sum(job.work == SENSE for job in victims) == 8
    by_operators = [job for job in victims if job.work in OPERATIONS]
    assert Counter(job.work for job in by_operators) == dict.fromkeys(OPERATIONS, 24)
    assert {job.kill.step for job in by_operators if job.kill} == set(Step)
    at_steps = [job.kill for job in victims if job.work == INGEST and job.kill]
    assert {kill.step for kill in at_steps} == set(Step)
    assert {(kill.occurrence, kill.after) for kill in at_steps} == {
        (number, after) for number in (1, 2, 3) for after in (False, True)
    }
