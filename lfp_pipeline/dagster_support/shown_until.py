"""What a Dagster instance shows of the deliveries, as a file of its Dagster home.

Hosts that share an instance share a row of PostgreSQL instead.

A run that is killed may have changed the tables without showing that; so may a run of another
instance, because several may use one data folder. So each run that shows the tables also shows the
status notes that no run has shown. This note has a time up to which all notes are shown, and which
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

from lfp_pipeline.errors import user_message
from lfp_pipeline.hosts.liveness import Kind, Liveness
from lfp_pipeline.hosts.notes import FileNote, Note, RowNote
from lfp_pipeline.raw_zone.landed import NotedStatus
from lfp_pipeline.raw_zone.raw_index import RawIndex
from lfp_pipeline.settings import Settings

_LOG = logging.getLogger(__name__)

_NAME = "lfp_shown_until"

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


def shown_note(settings: Settings, home: Path) -> Note:
    """Return the note of what an instance shows, which has this Dagster home."""
    if settings.catalog is None:
        return FileNote(home / _NAME)
    return RowNote(settings.catalog, _NAME)


def begin_showing(note: Note, index: RawIndex) -> None:
    """Let an instance that shows nothing yet begin after the present deliveries."""
    if note.read() is None:
        present = _Shown(index.last_noted_ns(), {})
        _save(note, present.until_ns, present.notes(index), ())


def unshown(
    note: Note,
    index: RawIndex,
    liveness: Liveness,
    run_id: str = "",
    keys: Collection[str] = (),
) -> list[NotedStatus]:
    """Return the status notes that no run has shown and none is about to show, the oldest first.

    A run in progress that began before a status note may be about to show it.

    Args:
        liveness: the marks of the runs in progress.
        run_id: the run that asks.
        keys: the partitions that this run has shown.
    """
    # The marks come before the note, which the runs change.
    others = (mark for mark in liveness.live(Kind.RUN) if mark.name != run_id)
    begun_ns = min((mark.since_ns for mark in others), default=inf)
    shown = _load(note)
    if shown is None:  # Nothing is known to be missing.
        return []
    return [
        status
        for status in shown.notes(index)
        if status.noted_ns < begun_ns and status.key not in keys and not shown.has(status)
    ]


def save_shown(note: Note, index: RawIndex, keys: Collection[str]) -> None:
    """Save that the status notes of some partitions are shown.

    To be called under the writer lock, with the state of the index that was shown.
    """
    shown = _load(note) or _Shown(index.last_noted_ns(), {})
    notes = shown.notes(index)
    new = [status for status in notes if status.key in keys or shown.has(status)]
    _save(note, shown.until_ns, new, set(notes).difference(new))


def _load(note: Note) -> _Shown | None:
    with suppress(ValueError, TypeError, LookupError):
        data = json.loads(note.read() or "")
        if isinstance(data, int):  # Earlier commits wrote the time only.
            return _Shown(data, {})
        return _Shown(int(data["until_ns"]), dict(data["shown"]))
    return None


def _save(
    note: Note, before_ns: int, shown: Collection[NotedStatus], missing: Collection[NotedStatus]
) -> None:
    now = time.time_ns()
    latest = max((status.noted_ns for status in shown), default=before_ns)
    # A missing note holds the time up, and a note with a time in the future does not move it there.
    until = min(latest, now, *(status.noted_ns for status in missing))
    if before_ns <= now:  # Else the clock was set back.
        until = max(until, before_ns)
    kept = {
        status.delivery_id: status.status
        for status in shown
        if status.noted_ns > until - _OVERLAP_NS
    }
    try:
        note.write(json.dumps({"until_ns": until, "shown": kept}))
    except OSError as error:  # The next run looks at the same deliveries again.
        _LOG.warning("What is shown could not be saved: %s", user_message(error))
