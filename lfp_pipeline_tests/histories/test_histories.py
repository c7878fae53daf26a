"""Some random histories, and that what is wrong in one is seen."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfp_pipeline import reverting
from lfp_pipeline.warehouse import merge
from lfp_pipeline_tests.histories.story import BATCHES, Case, DifferenceError, live_through, shrunk
from lfp_pipeline_tests.processes import PROJECT

SEED = 4

MOST_HISTORIES = 20


@pytest.mark.parametrize("number", range(2))
def test_some_histories_go_as_they_must(number: int, tmp_path: Path):
    assert len(list(live_through(Case(SEED, number), tmp_path))) == BATCHES
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(2, 22))
def test_so_do_many_more(number: int, tmp_path: Path):
    assert len(list(live_through(Case(SEED, number), tmp_path))) == BATCHES


def test_a_history_is_the_same_again_by_its_number(tmp_path: Path):
    case = Case(SEED, 2, tuple(range(8)))
    assert list(live_through(case, tmp_path)) == list(live_through(case, tmp_path))


def first_difference(parent: Path) -> tuple[Case, DifferenceError]:
    for number in range(MOST_HISTORIES):
        case = Case(SEED, number)
        try:
            list(live_through(case, parent))
        except DifferenceError as difference:
            return case, difference
    pytest.fail("What is wrong was not seen.")


def test_a_reversal_that_finds_no_heirs_is_found_out_and_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reverting, "is_sought", lambda *_: False)
    case, difference = first_difference(tmp_path)
    smaller = shrunk(case, difference, tmp_path)
    assert "products has [], lacks" in str(smaller)
    assert len(smaller.batches) <= len(difference.batches)
    assert "Revert(" in "".join(smaller.told)


def test_a_merge_that_is_no_transaction_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextmanager
    def no_transaction(connection: object) -> Iterator[None]:
        del connection
        yield

    monkeypatch.setattr(merge, "transaction", no_transaction)
    _, difference = first_difference(tmp_path)
    assert any("died after" in line for line in difference.told)


def test_the_command_tells_what_was_done(tmp_path: Path):
    command = [sys.executable, "-m", "lfp_pipeline_tests.histories", "--batches", "6"]
    command += ["--seed", str(SEED), "--processes", "1", "--folder", str(tmp_path)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"Seed {SEED}" in ended.stdout
    assert "6 random batches against the oracle" in ended.stdout
    assert "0 differences" in ended.stdout
