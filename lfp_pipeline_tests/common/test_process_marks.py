"""Marks: held by the living, abandoned by the dead."""

from pathlib import Path

import pytest

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark, live_marks, stale_marks
from testing.processes import HOLD_MARK, running


def test_a_mark_is_there_as_long_as_it_is_held(tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "a.run"
    with hold_mark(mark):
        assert mark.exists()
    assert list(mark.parent.iterdir()) == []


def test_a_mark_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_mark(tmp_path / "a.run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_is_held_is_not_abandoned(tmp_path: Path) -> None:
    with hold_mark(tmp_path / "a.run"), running(HOLD_MARK, tmp_path / "b.run"):
        assert list(claim_stale_marks(tmp_path, "*.run")) == []


def test_the_mark_of_a_killed_process_is_abandoned_once(tmp_path: Path) -> None:
    with running(HOLD_MARK, tmp_path / "a.run"):
        pass
    assert list(claim_stale_marks(tmp_path, "*.run")) == [tmp_path / "a.run"]
    assert list(claim_stale_marks(tmp_path, "*.run")) == []


def test_a_mark_may_be_left_for_whoever_else_asks(tmp_path: Path) -> None:
    with hold_mark(tmp_path / "a.run"), running(HOLD_MARK, tmp_path / "b.run"):
        assert stale_marks(tmp_path, "*.run") == []
    for _ in range(2):
        assert stale_marks(tmp_path, "*.run") == [tmp_path / "b.run"]


def test_of_a_missing_folder_nothing_is_abandoned(tmp_path: Path) -> None:
    assert list(claim_stale_marks(tmp_path / "missing", "*.run")) == []


def test_the_living_are_those_whose_marks_are_held(tmp_path: Path) -> None:
    with running(HOLD_MARK, tmp_path / "dead.run"):
        assert live_marks(tmp_path, "*.run") == [tmp_path / "dead.run"]
    with hold_mark(tmp_path / "a.run") as mark, running(HOLD_MARK, tmp_path / "b.run"):
        mark.write_text("told")
        assert live_marks(tmp_path, "*.run") == [tmp_path / "a.run", tmp_path / "b.run"]
    assert live_marks(tmp_path, "*.run") == []
