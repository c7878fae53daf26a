"""Some random histories, and faults that they must detect."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfp_pipeline.ingest import revert
from lfp_pipeline.raw_zone import hashing_sink
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse import merge
from testing.processes import run_module
from verification.histories import history
from verification.histories.actions import ChangeSettings, Deliver
from verification.histories.history import BATCHES, Case, DifferenceError, run_history, shrink
from verification.histories.operator_actions import Revert
from verification.histories.rules import Rules, Version

SEED = 4

# Found by trial. After a change of what is drawn, find others.
REVERTS = Case(SEED, 0, (0, 1, 3, 6, 7, 11))
KILLED = Case(SEED, 4, tuple(range(4)))
UNFINISHED = Case(SEED, 4, (0, 9))


def test_a_history_gives_the_expected_tables(tmp_path: Path):
    assert len(list(run_history(Case(SEED, 0), tmp_path))) == BATCHES
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(1, 22))
def test_many_histories_give_the_expected_tables(number: int, tmp_path: Path):
    assert len(list(run_history(Case(SEED, number), tmp_path))) == BATCHES


def test_a_seed_and_a_number_repeat_a_history(tmp_path: Path):
    case = Case(SEED, 2, tuple(range(4)))
    assert list(run_history(case, tmp_path)) == list(run_history(case, tmp_path))


def difference_in(case: Case, parent: Path) -> DifferenceError:
    with pytest.raises(DifferenceError) as found:
        list(run_history(case, parent))
    return found.value


@pytest.mark.slow
def test_a_reversal_that_finds_no_older_rows_is_detected_and_shrunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(revert, "may_replace", lambda *_: False)
    difference = difference_in(REVERTS, tmp_path)
    smaller = shrink(REVERTS, difference, tmp_path)
    assert "products has [], lacks" in str(smaller)
    assert len(smaller.batches) < len(difference.batches)
    assert "Revert(" in "".join(smaller.report)


def test_a_reversal_that_reads_with_the_present_settings_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old, new = (Version("a", at, (("s1", name, "x"),)) for at, name in [(1, "Ann"), (2, "Bob")])
    actions = [
        Deliver([old], "one by one"),
        ChangeSettings(Rules(null_tokens=("x",))),
        Deliver([new], "one by one"),
        Revert(
            new.delivery_id, ignore_pruned_history=False, dry_run=False, use_present_settings=False
        ),
    ]
    monkeypatch.setattr(history, "KILL_SHARE", 0)
    monkeypatch.setattr(history, "draw_action", lambda *_: actions.pop(0))
    monkeypatch.setattr(revert, "reread", lambda *found: Rereading(found[-1]))
    difference = difference_in(Case(SEED, 0, tuple(range(4))), tmp_path)
    assert "products has [('s1', 'Ann', ''" in str(difference)
    assert not actions


def test_an_unfinished_upload_that_is_not_recognized_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert list(run_history(UNFINISHED, tmp_path))
    monkeypatch.setattr(hashing_sink, "ends_inside_a_record", lambda *_: False)
    difference = difference_in(UNFINISHED, tmp_path)
    assert "'reverted'" in str(difference)


def test_a_merge_without_a_transaction_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def no_transaction(connection: object) -> Iterator[None]:
        del connection
        yield

    monkeypatch.setattr(merge, "transaction", no_transaction)
    monkeypatch.setattr(history, "KILL_SHARE", 1)
    difference = difference_in(KILLED, tmp_path)
    assert "killed after" in difference.report[-1]


def test_the_command_prints_its_seed_and_its_result(tmp_path: Path):
    options = ["--batches", 6, "--seed", SEED, "--processes", 1, "--folder", tmp_path]
    ended = run_module("verification.histories", *options)
    assert ended.returncode == 0, ended.stderr
    assert f"Seed {SEED}" in ended.stdout
    assert "6 random batches against the oracle" in ended.stdout
    assert "0 differences" in ended.stdout
