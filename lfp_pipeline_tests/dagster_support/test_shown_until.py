"""What an instance has shown, while runs begin and end."""

from pathlib import Path
from threading import Event, Thread

from lfp_pipeline.dagster_support.shown_until import begin_showing, save_shown, unshown
from lfp_pipeline.hosts.liveness import Kind, LockedFiles
from lfp_pipeline.hosts.notes import FileNote
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings


def test_runs_that_end_meanwhile_cause_no_error(tmp_path: Path) -> None:
    index, liveness = RawZone(tmp_path / "raw").index, LockedFiles(Settings(data_dir=tmp_path))
    note = FileNote(tmp_path / "lfp_shown_until")
    begin_showing(note, index)
    ended = Event()

    def begin_and_end_runs() -> None:
        while not ended.is_set():
            with liveness.hold(Kind.RUN, "a"):
                pass

    thread = Thread(target=begin_and_end_runs)
    thread.start()
    try:
        for _ in range(1_000):
            assert [mark.name for mark in liveness.live(Kind.RUN)] in ([], ["a"])
            assert unshown(note, index, liveness) == []
    finally:
        ended.set()
        thread.join()


def test_a_file_of_an_earlier_form_is_read_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    index, file = RawZone(tmp_path / "raw").index, tmp_path / "lfp_shown_until"
    liveness = LockedFiles(Settings(data_dir=tmp_path))
    for content in ("123", "", "{}", "[1]", '{"until_ns": 1'):
        file.write_text(content)
        assert unshown(FileNote(file), index, liveness) == []
        save_shown(FileNote(file), index, ())
        assert file.read_text().startswith('{"until_ns": ')
