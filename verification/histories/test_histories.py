"""Some random histories, and that what is wrong in one is seen."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfp_pipeline.ingest import revert
from lfp_pipeline.raw_zone import raw_zone
from lfp_pipeline.reading.options import Rereading
from lfp_pipeline.warehouse import merge
from testing.processes import PROJECT
from verification.histories import story
from verification.histories.deeds import ChangeSettings, Deliver, Revert
from verification.histories.rules import Rules, Version
from verification.histories.story import BATCHES, Case, DifferenceError, live_through, shrunk

SEED = 4

# Found by looking. Who changes what is drawn looks for others.
REVERTS = Case(SEED, 0, (0, 1, 3, 6, 7, 11))
DIES = Case(SEED, 4, tuple(range(4)))
UNFINISHED = Case(SEED, 4, (0, 9))


def test_a_history_goes_as_it_must(tmp_path: Path):
    assert len(list(live_through(Case(SEED, 0), tmp_path))) == BATCHES
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(1, 22))
def test_so_do_many_more(number: int, tmp_path: Path):
    assert len(list(live_through(Case(SEED, number), tmp_path))) == BATCHES


def test_a_history_is_the_same_again_by_its_number(tmp_path: Path):
    case = Case(SEED, 2, tuple(range(4)))
    assert list(live_through(case, tmp_path)) == list(live_through(case, tmp_path))


def difference_in(case: Case, parent: Path) -> DifferenceError:
    with pytest.raises(DifferenceError) as found:
        list(live_through(case, parent))
    return found.value


def test_a_reversal_that_finds_no_heirs_is_found_out_and_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(revert, "may_replace", lambda *_: False)
    difference = difference_in(REVERTS, tmp_path)
    smaller = shrunk(REVERTS, difference, tmp_path)
    assert "products has [], lacks" in str(smaller)
    assert len(smaller.batches) < len(difference.batches)
    assert "Revert(" in "".join(smaller.told)


def test_a_reversal_that_reads_with_the_settings_of_now_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old, new = (Version("a", at, (("s1", name, "x"),)) for at, name in [(1, "Ann"), (2, "Bob")])
    deeds = [
        Deliver([old], "one by one"),
        ChangeSettings(Rules(null_tokens=("x",))),
        Deliver([new], "one by one"),
        Revert(
            new.delivery_id, ignore_pruned_history=False, dry_run=False, use_present_settings=False
        ),
    ]
    monkeypatch.setattr(story, "DIE", 0)
    monkeypatch.setattr(story, "drawn_deed", lambda *_: deeds.pop(0))
    monkeypatch.setattr(revert, "reread", lambda *found: Rereading(found[-1]))
    difference = difference_in(Case(SEED, 0, tuple(range(4))), tmp_path)
    assert "products has [('s1', 'Ann', ''" in str(difference)
    assert not deeds


def test_an_unfinished_upload_that_is_not_recognized_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert list(live_through(UNFINISHED, tmp_path))
    monkeypatch.setattr(raw_zone, "ends_in_a_record", lambda *_: False)
    difference = difference_in(UNFINISHED, tmp_path)
    assert "'reverted'" in str(difference)


def test_a_merge_that_is_no_transaction_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextmanager
    def no_transaction(connection: object) -> Iterator[None]:
        del connection
        yield

    monkeypatch.setattr(merge, "transaction", no_transaction)
    monkeypatch.setattr(story, "DIE", 1)
    difference = difference_in(DIES, tmp_path)
    assert "died after" in difference.told[-1]


def test_the_command_tells_what_was_done(tmp_path: Path):
    command = [sys.executable, "-m", "verification.histories", "--batches", "6"]
    command += ["--seed", str(SEED), "--processes", "1", "--folder", str(tmp_path)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"Seed {SEED}" in ended.stdout
    assert "6 random batches against the oracle" in ended.stdout
    assert "0 differences" in ended.stdout
