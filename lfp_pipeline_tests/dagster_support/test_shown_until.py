"""What an instance has shown, while runs begin and end."""

from pathlib import Path
from threading import Event, Thread

from lfp_pipeline.common.process_marks import hold_mark, live_marks
from lfp_pipeline.dagster_support.shown_until import begin_showing, save_shown, unshown
from lfp_pipeline.raw_zone.raw_index import RawIndex


def test_runs_that_end_meanwhile_cause_no_error(tmp_path: Path) -> None:
    index, marks = RawIndex(tmp_path / "raw"), tmp_path / "runs"
    begin_showing(tmp_path, index)
    ended = Event()

    def begin_and_end_runs() -> None:
        while not ended.is_set():
            with hold_mark(marks / "a.run"):
                pass

    thread = Thread(target=begin_and_end_runs)
    thread.start()
    try:
        for _ in range(1_000):
            assert live_marks(marks, "*.run") in ([], [marks / "a.run"])
            assert unshown(tmp_path, index, marks) == []
    finally:
        ended.set()
        thread.join()


def test_a_file_of_an_earlier_form_is_read_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    index, file = RawIndex(tmp_path / "raw"), tmp_path / "lfp_shown_until"
    for content in ("123", "", "{}", "[1]", '{"until_ns": 1'):
        file.write_text(content)
        assert unshown(tmp_path, index, tmp_path) == []
        save_shown(tmp_path, index, ())
        assert file.read_text().startswith('{"until_ns": ')
