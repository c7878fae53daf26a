"""What a Dagster instance shows of the deliveries, as a file of its Dagster home.

A run that is killed may have changed the tables without showing that; so may a run of another
instance, because several may use one data folder. So each run that shows the tables also shows the
status notes that no run has shown. The file has a time up to which all notes are shown, and which
of the notes of the last minute before, and of later ones, are shown. This module imports no
Dagster.
"""

import json
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

from lfp_pipeline.common.atomic_files import write_file
from lfp_pipeline.common.process_marks import live_marks
from lfp_pipeline.errors import user_message
from lfp_pipeline.raw_zone.landed import NotedStatus
from lfp_pipeline.raw_zone.raw_index import RawIndex

_LOG = logging.getLogger(__name__)

_OVERLAP_NS = 60_000_000_000
"""A note gets its time before its name. So it may appear after a younger one, by less than this."""


class _Shown(NamedTuple):
    """What is shown.

    Attributes:
        until_ns: all status notes up to this file time are shown, but for the overlap before it.
        statuses: the shown notes of the overlap, and later ones: statuses by delivery id.
    """

    until_ns: int
    statuses: Mapping[str, str]

    def notes(self, index: RawIndex) -> list[NotedStatus]:
        """Return the notes that have to be compared, the oldest first."""
        return index.noted_since(min(self.until_ns, time.time_ns()) - _OVERLAP_NS)

    def has(self, note: NotedStatus) -> bool:
        """Return whether a note is shown."""
        return self.statuses.get(note.delivery_id) == note.status


def begin_showing(home: Path, index: RawIndex) -> None:
    """Let a home that shows nothing yet begin after the present deliveries."""
    if not _file(home).exists():
        present = _Shown(index.last_noted_ns(), {})
        _save(home, present.until_ns, present.notes(index), ())


def unshown(
    home: Path, index: RawIndex, marks_dir: Path, run_id: str = "", keys: Collection[str] = ()
) -> list[NotedStatus]:
    """Return the notes that no run has shown and none is about to show, the oldest first.

    A run in progress that began before a note may be about to show it.

    Args:
        marks_dir: the folder with the marks of the runs in progress.
        run_id: the run that asks.
        keys: the partitions that this run has shown.
    """
    begun_ns = inf
    for mark in live_marks(marks_dir, "*.run"):  # Before the file is read, which they change.
        if mark.stem != run_id:
            with suppress(FileNotFoundError):  # The run has just ended.
                begun_ns = min(begun_ns, mark.stat().st_mtime_ns)
    shown = _load(home)
    if shown is None:  # Nothing is known to be missing.
        return []
    return [
        note
        for note in shown.notes(index)
        if note.noted_ns < begun_ns and note.key not in keys and not shown.has(note)
    ]


def save_shown(home: Path, index: RawIndex, keys: Collection[str]) -> None:
    """Save that the notes of some partitions are shown.

    To be called under the writer lock, with the state of the index that was shown.
    """
    shown = _load(home) or _Shown(index.last_noted_ns(), {})
    notes = shown.notes(index)
    new = [note for note in notes if note.key in keys or shown.has(note)]
    _save(home, shown.until_ns, new, set(notes).difference(new))


def _load(home: Path) -> _Shown | None:
    with suppress(OSError, ValueError, TypeError, LookupError):
        data = json.loads(_file(home).read_bytes())
        if isinstance(data, int):  # Earlier commits wrote the time only.
            return _Shown(data, {})
        return _Shown(int(data["until_ns"]), dict(data["shown"]))
    return None


def _save(
    home: Path, before_ns: int, shown: Collection[NotedStatus], missing: Collection[NotedStatus]
) -> None:
    now = time.time_ns()
    latest = max((note.noted_ns for note in shown), default=before_ns)
    # A missing note holds the time up, and a note with a time in the future does not move it there.
    until = min(latest, now, *(note.noted_ns for note in missing))
    if before_ns <= now:  # Else the clock was set back.
        until = max(until, before_ns)
    kept = {note.delivery_id: note.status for note in shown if note.noted_ns > until - _OVERLAP_NS}
    try:
        write_file(_file(home), json.dumps({"until_ns": until, "shown": kept}).encode())
    except OSError as error:  # The next run looks at the same deliveries again.
        _LOG.warning("%s could not be written: %s", _file(home), user_message(error))


def _file(home: Path) -> Path:
    return home / "lfp_shown_until"
