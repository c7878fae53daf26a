"""How often the runs of a sensor have tried the files that are in the inbox.

Each run is counted once, when it has ended, and the counts are kept in the sensor's cursor. So a
tick reads the runs that are new since the last one, and those that had not ended then. Where the
cursor is lost, or does not tell of a file that earlier ticks may have asked for (its outcome was
lost, perhaps), the runs since the oldest pending file was dropped are counted anew, some at each
tick. Until that is done, nothing is asked for: no file is tried too often, and no run is asked for
by the key of an earlier one, which Dagster would skip.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from math import inf

import dagster as dg
from dagster import RunRecord

from lfp_pipeline.dagster_support.failures import BUSY_TAG, NOT_TRIED_TAG
from lfp_pipeline.dagster_support.runs import SENSOR_TAG, requested_files
from lfp_pipeline.defs.sensors.inbox_planner import FileVersion
from lfp_pipeline.sources.inbox import InboxFile

RUNS_A_TICK = 500
_MOST_ABSENT = 1_000
"""Counts of files that are not in the inbox now are kept for so many: they may come back."""


@dataclass(frozen=True)
class Tries:
    """How often a version of a file was tried since it was dropped.

    Attributes:
        version: of the file.
        since: when the first of these runs was made, in seconds.
        attempts: runs that have ended.
        busy: how many of them failed only because the database was in other hands, or left the
            file alone because it was being written.
        last_busy: when the last of these was made.
    """

    version: str
    since: float
    attempts: int
    busy: int
    last_busy: float

    def after(self, earlier: "Tries | None") -> "Tries":
        """All of them, if the earlier ones are of the same version."""
        if earlier is None or earlier.version != self.version:
            return self
        return Tries(
            self.version,
            min(self.since, earlier.since),
            self.attempts + earlier.attempts,
            self.busy + earlier.busy,
            max(self.last_busy, earlier.last_busy),
        )


@dataclass(frozen=True)
class Attempts:
    """What is known of the runs of a sensor.

    Attributes:
        last: the id of the last run that was read; None: there was none.
        open: the ids of those runs that had not ended.
        running: what these were asked for.
        tries: by partition key.
        untried: the keys of pending files that no run was asked for.
        known_until: a file that was dropped before, in seconds, may have been asked for.
        is_complete: whether there are no more runs to read.
    """

    last: str | None
    open: Sequence[str] = ()
    running: Collection[FileVersion] = ()
    tries: Mapping[str, Tries] = field(default_factory=dict)
    untried: Collection[str] = ()
    known_until: float = -inf
    is_complete: bool = False

    @classmethod
    def from_cursor(cls, cursor: str | None) -> "Attempts | None":
        """What a cursor tells; None: nothing."""
        with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
            told = json.loads(cursor or "")
            return cls(
                last=told["last"],
                open=told["open"],
                tries={key: Tries(*one) for key, one in told["tries"].items()},
                untried=frozenset(told["untried"]),
                known_until=float(told["known_until"]),
            )
        return None

    @property
    def cursor(self) -> str:
        """What is to be remembered."""
        told = {
            "last": self.last,
            "open": list(self.open),
            "tries": {key: list(asdict(one).values()) for key, one in self.tries.items()},
            "untried": sorted(self.untried),
            "known_until": self.known_until,
        }
        return json.dumps(told)


def count_attempts(
    cursor: str | None,
    sensor: str,
    pending: Mapping[str, InboxFile],
    settled: Collection[str],
    known_until: float,
    instance: dg.DagsterInstance,
) -> Attempts:
    """Count the runs of a sensor that were not counted yet.

    Args:
        cursor: what was remembered.
        sensor: whose runs.
        pending: files in the inbox that are to be taken in, by partition key.
        settled: keys of the other files in the inbox.
        known_until: this tick asks only for what was dropped before, in seconds.
        instance: with the runs.
    """
    tags = {SENSOR_TAG: sensor}
    before = Attempts.from_cursor(cursor)
    if before is not None and before.last and instance.get_run_record_by_id(before.last) is None:
        before = None  # It was deleted, and tells no longer which runs are new.
    counted = before and _counted(before, tags, pending, settled, instance)
    if before is None or counted is None or not _knows_all(counted, before, pending):
        last = _last_before(min(map(_dropped_at, pending.values()), default=inf), tags, instance)
        counted = _counted(Attempts(last), tags, pending, settled, instance)
    tried = {key for key, _ in counted.running} | counted.tries.keys()
    return replace(counted, untried=pending.keys() - tried, known_until=known_until)


def _knows_all(counted: Attempts, before: Attempts, pending: Mapping[str, InboxFile]) -> bool:
    known = {key for key, _ in counted.running} | counted.tries.keys() | set(before.untried)
    return all(_dropped_at(pending[key]) > before.known_until for key in pending.keys() - known)


def _counted(
    before: Attempts,
    tags: Mapping[str, str],
    pending: Mapping[str, InboxFile],
    settled: Collection[str],
    instance: dg.DagsterInstance,
) -> Attempts:
    new = instance.get_run_records(
        dg.RunsFilter(tags=dict(tags)), cursor=before.last, limit=RUNS_A_TICK, ascending=True
    )
    records = list(new)
    if before.open:
        records += instance.get_run_records(dg.RunsFilter(run_ids=list(before.open)))
    running: set[FileVersion] = set()
    tries = {
        key: one
        for key, one in before.tries.items()
        if key not in settled and (key not in pending or _is_of(one, pending[key]))
    }
    for record in records:
        versions = requested_files(record.dagster_run).items()
        if not record.dagster_run.is_finished:
            running.update(versions)
            continue
        created_at = record.create_timestamp.timestamp()
        tags_of_run = record.dagster_run.tags
        busy = BUSY_TAG in tags_of_run
        not_tried = tags_of_run.get(NOT_TRIED_TAG, "").split(",")
        for key, version in versions:
            no_attempt = busy or key in not_tried
            run = Tries(version, created_at, 1, int(no_attempt), created_at if busy else 0.0)
            if key not in settled and (key not in pending or _is_of(run, pending[key])):
                tries[key] = run.after(tries.get(key))
    absent = [key for key in tries if key not in pending]
    for key in absent[:-_MOST_ABSENT]:
        del tries[key]
    return Attempts(
        last=new[-1].dagster_run.run_id if new else before.last,
        open=[one.dagster_run.run_id for one in records if not one.dagster_run.is_finished],
        running=running,
        tries=tries,
        is_complete=len(new) < RUNS_A_TICK,
    )


def _is_of(tries: Tries, file: InboxFile) -> bool:
    """Whether a count is of what the file is now; what was before it was dropped is not."""
    return tries.version == file.version and tries.since > _dropped_at(file)


def _dropped_at(file: InboxFile) -> float:
    return file.ctime_ns / 1e9


def _last_before(
    seconds: float, tags: Mapping[str, str], instance: dg.DagsterInstance
) -> str | None:
    """The id of the last run that was made before then."""
    moment = datetime.fromtimestamp(min(seconds, time.time()), UTC)
    filters = dg.RunsFilter(tags=dict(tags), created_before=moment)
    found: Sequence[RunRecord] = instance.get_run_records(filters, limit=1)
    return found[0].dagster_run.run_id if found else None
