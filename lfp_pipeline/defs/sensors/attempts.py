"""Counts the runs of a sensor per file of the inbox.

Each run is counted once, after its end, and the sensor's cursor keeps the counts. So a tick reads
only the runs that are new since the last tick, and those that had not ended. If the cursor is lost,
or lacks a file that earlier ticks may have requested (its status note was lost, perhaps), the runs
since the oldest pending file was dropped are recounted, some per tick. Until the count is complete,
no run is requested: no file gets too many attempts, and no run key is used twice, because Dagster
would skip the second run.
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

from lfp_pipeline.dagster_support.failures import BUSY_TAG
from lfp_pipeline.dagster_support.runs import NOT_TRIED_TAG, SENSOR_TAG, requested_files
from lfp_pipeline.defs.sensors.inbox_planner import FileVersion
from lfp_pipeline.sources.inbox import InboxFile

RUNS_A_TICK = 500
_ABSENT_LIMIT = 1_000
"""Limit of counts that are kept for files that left the inbox: such files may come back."""


@dataclass(frozen=True)
class Tries:
    """The runs of one version of a file since the file was dropped.

    Attributes:
        version: the version of the file.
        since: creation time of the first run, in seconds since the epoch.
        attempts: number of runs that have ended.
        busy: number of those that do not count as failed attempts: another process had the database
            open, or the file was still being written.
        last_busy: creation time of the last run that found the database busy, in seconds since the
            epoch.
    """

    version: str
    since: float
    attempts: int
    busy: int
    last_busy: float

    def after(self, earlier: "Tries | None") -> "Tries":
        """Return the sum with earlier runs, if those are of the same version."""
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
    """The counted runs of a sensor.

    Attributes:
        last: id of the last run that was read; None: there was none.
        open: ids of the runs that had not ended.
        open_runs: the file versions that each of those was requested for that is queued or in
            progress. Dagster launches a run whose submission failed when the run is requested
            again, with its run key.
        tries: the counts, by partition key.
        untried: keys of files whose present version no run was requested for: pending files, and
            files that are still being written.
        known_until: a run may have been requested for any other file that was dropped before this
            time, in seconds since the epoch.
        is_complete: whether all runs are read.
    """

    last: str | None
    open: Sequence[str] = ()
    open_runs: Sequence[Collection[FileVersion]] = ()
    tries: Mapping[str, Tries] = field(default_factory=dict)
    untried: Collection[str] = ()
    known_until: float = -inf
    is_complete: bool = False

    @classmethod
    def from_cursor(cls, cursor: str | None) -> "Attempts | None":
        """Return the counts in a cursor; None: the cursor has none, or is damaged."""
        with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
            state = json.loads(cursor or "")
            return cls(
                last=state["last"],
                open=state["open"],
                tries={key: Tries(*tries) for key, tries in state["tries"].items()},
                untried=frozenset(state["untried"]),
                known_until=float(state["known_until"]),
            )
        return None

    @property
    def running(self) -> set[FileVersion]:
        """The file versions of the open runs."""
        return set().union(*self.open_runs)

    @property
    def cursor(self) -> str:
        """The counts as the text of a cursor."""
        state = {
            "last": self.last,
            "open": list(self.open),
            "tries": {key: list(asdict(tries).values()) for key, tries in self.tries.items()},
            "untried": sorted(self.untried),
            "known_until": self.known_until,
        }
        return json.dumps(state)


def count_attempts(
    cursor: str | None,
    sensor: str,
    pending: Mapping[str, InboxFile],
    finished: Collection[str],
    written: Collection[str],
    known_until: float,
    instance: dg.DagsterInstance,
) -> Attempts:
    """Return the counts of a sensor's runs, with those added that were not counted yet.

    Args:
        cursor: the cursor of the last tick.
        sensor: name of the sensor.
        pending: files of the inbox that are to be ingested, by partition key.
        finished: partition keys of the other files of the inbox.
        written: partition keys of files that are still being written.
        known_until: this tick requests runs only for files that were dropped before this time, in
            seconds since the epoch.
        instance: the instance that has the runs.
    """
    tags = {SENSOR_TAG: sensor}
    before = Attempts.from_cursor(cursor)
    if before is not None and before.last and instance.get_run_record_by_id(before.last) is None:
        before = None  # The run was deleted: nothing shows which runs are new.
    counted = before and _counted(before, tags, pending, finished, instance)
    if before is None or counted is None or not _knows_all(counted, before, pending):
        last = _last_before(min(map(_dropped_at, pending.values()), default=inf), tags, instance)
        counted = _counted(Attempts(last), tags, pending, finished, instance)
    tried = {key for key, _ in counted.running} | counted.tries.keys()
    untried = (pending.keys() - tried) | set(written)
    return replace(counted, untried=untried, known_until=known_until)


def _knows_all(counted: Attempts, before: Attempts, pending: Mapping[str, InboxFile]) -> bool:
    known = {key for key, _ in counted.running} | counted.tries.keys() | set(before.untried)
    return all(_dropped_at(pending[key]) > before.known_until for key in pending.keys() - known)


def _counted(
    before: Attempts,
    tags: Mapping[str, str],
    pending: Mapping[str, InboxFile],
    finished: Collection[str],
    instance: dg.DagsterInstance,
) -> Attempts:
    new = instance.get_run_records(
        dg.RunsFilter(tags=dict(tags)), cursor=before.last, limit=RUNS_A_TICK, ascending=True
    )
    records = list(new)
    if before.open:
        records += instance.get_run_records(dg.RunsFilter(run_ids=list(before.open)))
    open_ids: list[str] = []
    open_runs: list[Collection[FileVersion]] = []
    tries = {
        key: earlier
        for key, earlier in before.tries.items()
        if key not in finished and (key not in pending or _is_of(earlier, pending[key]))
    }
    for record in records:
        run = record.dagster_run
        versions = requested_files(run).items()
        if not run.is_finished:
            open_ids.append(run.run_id)
            if run.status is not dg.DagsterRunStatus.NOT_STARTED:
                open_runs.append(versions)
            continue
        created_at = record.create_timestamp.timestamp()
        busy = BUSY_TAG in run.tags
        not_tried = run.tags.get(NOT_TRIED_TAG, "").split(",")
        for key, version in versions:
            no_attempt = busy or key in not_tried
            tried = Tries(version, created_at, 1, int(no_attempt), created_at if busy else 0.0)
            if key not in finished and (key not in pending or _is_of(tried, pending[key])):
                tries[key] = tried.after(tries.get(key))
    absent = [key for key in tries if key not in pending]
    for key in absent[:-_ABSENT_LIMIT]:
        del tries[key]
    return Attempts(
        last=new[-1].dagster_run.run_id if new else before.last,
        open=open_ids,
        open_runs=open_runs,
        tries=tries,
        is_complete=len(new) < RUNS_A_TICK,
    )


def _is_of(tries: Tries, file: InboxFile) -> bool:
    """Return whether a count is of the present version, since the file was dropped."""
    return tries.version == file.version and tries.since > _dropped_at(file)


def _dropped_at(file: InboxFile) -> float:
    return file.ctime_ns / 1e9


def _last_before(
    seconds: float, tags: Mapping[str, str], instance: dg.DagsterInstance
) -> str | None:
    """Return the id of the last run that was created before a time; None: there is none."""
    timestamp = datetime.fromtimestamp(min(seconds, time.time()), UTC)
    filters = dg.RunsFilter(tags=dict(tags), created_before=timestamp)
    found: Sequence[RunRecord] = instance.get_run_records(filters, limit=1)
    return found[0].dagster_run.run_id if found else None
