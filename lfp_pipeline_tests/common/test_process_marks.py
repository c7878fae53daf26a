"""Process marks are live while their process runs, and stale afterwards."""

from pathlib import Path

import pytest

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark, live_marks, stale_marks
from testing.processes import HOLD_MARK, finish, running, start


def test_a_mark_exists_while_it_is_held(tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "a.run"
    with hold_mark(mark):
        assert mark.exists()
    assert list(mark.parent.iterdir()) == []


def test_an_error_in_the_block_removes_the_mark(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_mark(tmp_path / "a.run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_held_mark_is_not_stale(tmp_path: Path) -> None:
    with hold_mark(tmp_path / "a.run"), running(HOLD_MARK, tmp_path / "b.run"):
        assert list(claim_stale_marks(tmp_path, "*.run")) == []


def test_the_mark_of_a_killed_process_is_claimed_once(tmp_path: Path) -> None:
    with running(HOLD_MARK, tmp_path / "a.run"):
        pass
    assert list(claim_stale_marks(tmp_path, "*.run")) == [tmp_path / "a.run"]
    assert list(claim_stale_marks(tmp_path, "*.run")) == []


def test_listing_stale_marks_does_not_remove_them(tmp_path: Path) -> None:
    with hold_mark(tmp_path / "a.run"), running(HOLD_MARK, tmp_path / "b.run"):
        assert stale_marks(tmp_path, "*.run") == []
    for _ in range(2):
        assert stale_marks(tmp_path, "*.run") == [tmp_path / "b.run"]


def test_a_missing_folder_has_no_stale_marks(tmp_path: Path) -> None:
    assert list(claim_stale_marks(tmp_path / "missing", "*.run")) == []


def test_live_marks_are_those_of_running_processes(tmp_path: Path) -> None:
    with running(HOLD_MARK, tmp_path / "dead.run"):
        assert live_marks(tmp_path, "*.run") == [tmp_path / "dead.run"]
    with hold_mark(tmp_path / "a.run") as mark, running(HOLD_MARK, tmp_path / "b.run"):
        mark.write_text("content")
        assert live_marks(tmp_path, "*.run") == [tmp_path / "a.run", tmp_path / "b.run"]
    assert live_marks(tmp_path, "*.run") == []


HOLD_AND_REMOVE_THE_FOLDER = """
import sys
from contextlib import suppress
from pathlib import Path
from lfp_pipeline.common.process_marks import hold_mark
mark = Path(sys.argv[1])
for _ in range(2000):
    with hold_mark(mark):
        pass
    with suppress(OSError):
        mark.parent.rmdir()
"""


def test_a_mark_is_held_though_another_process_removes_the_empty_folder(tmp_path: Path) -> None:
    marks = [tmp_path / "work" / "runs" / f"{number}.run" for number in range(3)]
    finish([start(HOLD_AND_REMOVE_THE_FOLDER, mark) for mark in marks])
