"""The status of the hosts that work together: their marks, the queue, the writer, and the lag."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lfp_pipeline import __version__
from lfp_pipeline.common.text import pluralize, printable
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, SettingsError, user_message
from lfp_pipeline.hosts.broker import broker_client
from lfp_pipeline.hosts.buckets import missing_buckets
from lfp_pipeline.hosts.heartbeats import DEAD_AFTER_SECONDS, Heartbeats
from lfp_pipeline.hosts.liveness import Kind, Mark, process_of
from lfp_pipeline.hosts.members import LOST_SHOWN_SECONDS, Member, member_of, settings_digest
from lfp_pipeline.hosts.postgres import session
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.writer_lock import LockHolder

_LOG = logging.getLogger(__name__)

_QUEUE = "dagster"
_OF_PRIORITY = "\x06\x16"
_PRIORITIES = (3, 6, 9)
"""Celery has a list for each priority but the lowest: the queue, the separator, the priority."""

_WAITING = {
    "queued": "queued, until a worker has a free slot",
    "not_started": "requested, not queued yet",
    "starting": "sent to the workers, not begun yet",
    "canceling": "being canceled",
}
"""What the open runs wait for, by their status in Dagster."""

_OPEN_RUNS = """
SELECT lower(status), count(*) FROM dagster.runs
WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')
GROUP BY status ORDER BY status
"""


@dataclass(frozen=True)
class Host:
    """A head or a worker.

    Attributes:
        mark: its mark.
        member: what it says of itself.
        is_live: whether it renews its mark.
    """

    mark: Mark
    member: Member
    is_live: bool


@dataclass(frozen=True)
class ClusterStatus:
    """The status of the hosts.

    Attributes:
        hosts: the living hosts, and those that were lost.
        runs: the marks of the runs in progress.
        open_runs: number of Dagster's runs that have not ended, by status.
        messages: number of runs in Redis that no worker has fetched; None: unknown.
        writer: the holder of the writer lock.
        waiting: the processes that wait for the writer lock.
        problems: what does not answer, or is wrong.
    """

    hosts: Sequence[Host]
    runs: Sequence[Mark]
    open_runs: Mapping[str, int]
    messages: int | None
    writer: LockHolder | None
    waiting: Sequence[LockHolder]
    problems: Sequence[str]


@dataclass(frozen=True)
class Lag:
    """What waits to be merged.

    Attributes:
        pending_files: number of files in the inbox that are not merged; None: unknown.
        oldest_seconds: age of the oldest of them; None: there is none.
        pending_deliveries: number of landed deliveries that are not merged; None: unknown.
        problems: why something is unknown, and the buckets that are missing.
    """

    pending_files: int | None
    oldest_seconds: float | None
    pending_deliveries: int | None
    problems: Sequence[str]


def collect_cluster_status(engine: Engine) -> ClusterStatus:
    """Return the status, from PostgreSQL and the broker.

    Raises:
        SettingsError: no catalog is set, or its tables are missing.
        CatalogUnreachableError: the database does not answer.
    """
    settings = engine.settings
    if settings.catalog is None:
        msg = "LFP_CATALOG is not set: this project runs on one host. Its status: lfp status"
        raise SettingsError(msg)
    marks = Heartbeats(settings.catalog)
    hosts = [
        Host(mark, member_of(mark), is_live)
        for is_live, found in ((True, marks.live(Kind.HOST)), (False, marks.dead(Kind.HOST)))
        for mark in found
        if mark.seconds < LOST_SHOWN_SECONDS
    ]
    with session(settings.catalog, "lfp cluster status") as connection:
        open_runs = {str(status): int(n) for status, n in connection.execute(_OPEN_RUNS)}
    problems = list(_problems_of(hosts, settings))
    messages = _messages(settings, problems)
    return ClusterStatus(
        hosts=hosts,
        runs=marks.live(Kind.RUN),
        open_runs=open_runs,
        messages=messages,
        writer=engine.warehouse.lock.holder,
        waiting=engine.warehouse.lock.waiting,
        problems=problems,
    )


def collect_lag(engine: Engine) -> Lag:
    """Return what waits to be merged, from PostgreSQL and the buckets."""
    try:
        missing = missing_buckets(engine.settings, is_quick=True)
        with engine.raw_zone.index.snapshot():
            files = engine.catalog.list_inbox().ready
            landed = engine.backlog.reconciled(files)
            pending = [file for file, done in zip(files, landed, strict=True) if done is None]
            deliveries = engine.pending_deliveries(_LOG, offered=pending)
    except LfpError as error:
        return Lag(None, None, None, [user_message(error)])
    now = time.time()
    ages = [max(now - file.ctime_ns / 1e9, 0.0) for file in pending]
    problems = [f"The bucket {name} is missing." for name in missing]
    return Lag(len(pending), max(ages, default=None), len(deliveries), problems)


def render_cluster_status(state: ClusterStatus) -> str:
    """Return the status as lines of text, in titled sections."""
    sections = {
        "Problems": list(state.problems),
        "Hosts": [_host_line(host) for host in state.hosts],
        "Runs": [
            f"{mark.name[:8]}  {mark.text}  on {mark.host}, {_age(mark)}" for mark in state.runs
        ],
        "Queue": _queue_lines(state),
        "Writer": [_process_line(process, state) for process in [state.writer] if process]
        + [f"waiting: {_process_line(process, state)}" for process in state.waiting],
    }
    return _text_of(sections)


def render_lag(lag: Lag) -> str:
    """Return what waits to be merged as lines of text, in titled sections."""
    return _text_of({"Lag": _lag_lines(lag), "Problems of the buckets": lag.problems})


def _text_of(sections: Mapping[str, Sequence[str]]) -> str:
    lines: list[str] = []
    for title, entries in sections.items():
        if entries:
            lines += [""] * bool(lines) + [title, *(f"  {entry}" for entry in entries)]
    return "\n".join(map(printable, lines))


def cluster_status_data(state: ClusterStatus, lag: Lag) -> dict[str, Any]:
    """Return the status as texts, numbers, times, lists and mappings: the keys do not change."""
    return {
        "problems": [*state.problems, *lag.problems],
        "hosts": [
            {
                "name": host.mark.name,
                "host": host.mark.host,
                "since": _time(host.mark.since_ns / 1e9),
                "last_beat_seconds": round(host.mark.seconds, 1),
                "is_live": host.is_live,
                **asdict(host.member),
            }
            for host in state.hosts
        ],
        "runs": [
            {
                "run_id": mark.name,
                "job": mark.text,
                "host": mark.host,
                "since": _time(mark.since_ns / 1e9),
            }
            for mark in state.runs
        ],
        "open_runs": dict(state.open_runs),
        "messages": state.messages,
        "writer": _process(state.writer) if state.writer else None,
        "waiting": [_process(process) for process in state.waiting],
        "lag": {
            "pending_files": lag.pending_files,
            "oldest_seconds": lag.oldest_seconds,
            "pending_deliveries": lag.pending_deliveries,
        },
    }


def _problems_of(hosts: Sequence[Host], settings: Settings) -> Iterator[str]:
    live = [host for host in hosts if host.is_live]
    if not any(host.member.role == "head" for host in live):
        yield "No head runs, so no file is noticed. Start one: lfp cluster head"
    if settings.broker and not any(host.member.role == "worker" for host in live):
        yield "No worker runs, so no file is ingested. Start one or more: lfp worker"
    for host in live:
        if host.member.settings != settings_digest(settings):
            yield f"{host.mark.name} has other settings than this host; compare `lfp.toml`"
        if host.member.version != __version__:
            yield f"{host.mark.name} has version {host.member.version}, this host {__version__}."
    for host in hosts:
        if not host.is_live:
            lost = (
                f"{host.mark.name} on {host.mark.host} was lost: it was last seen "
                f"{host.mark.seconds:.0f} s ago."
            )
            if host.member.role == "head":
                yield f"{lost} Start a head on any host."
            else:
                yield (
                    f"{lost} Its runs are executed elsewhere. Start it again; or leave it, and an "
                    "hour after its loss it is no longer listed."
                )


def _messages(settings: Settings, problems: list[str]) -> int | None:
    """Return the number of messages in all lists of the queue; None without a broker."""
    if settings.broker is None:
        return None
    names = [_QUEUE, *(f"{_QUEUE}{_OF_PRIORITY}{priority}" for priority in _PRIORITIES)]
    try:
        with broker_client(settings) as client:
            return sum(int(str(client.llen(name))) for name in names)
    except LfpError as error:
        problems.append(user_message(error))
        return None


def _queue_lines(state: ClusterStatus) -> list[str]:
    """Return what the runs wait for; those in progress are listed with their marks."""
    lines = [(state.open_runs.get(status, 0), text) for status, text in _WAITING.items()]
    without_mark = state.open_runs.get("started", 0) - len(state.runs)
    lines += [(without_mark, "begun, without a heartbeat: the head fails lost ones in a minute")]
    lines += [(state.messages or 0, "in Redis, not fetched by a worker yet")]
    return [f"{number:>6}  {text}" for number, text in lines if number > 0]


def _lag_lines(lag: Lag) -> list[str]:
    if lag.pending_files is None:
        return ["unknown"]
    if lag.oldest_seconds is None:
        files = "no file is pending"
    else:
        number = pluralize(lag.pending_files, "pending file")
        files = f"{number}, the oldest for {lag.oldest_seconds:.0f} s"
    landed = pluralize(lag.pending_deliveries or 0, "landed delivery")
    return [files, *([f"{landed} not merged yet"] if lag.pending_deliveries else [])]


def _host_line(host: Host) -> str:
    slots = f", {pluralize(host.member.slots, 'slot')}" if host.member.role == "worker" else ""
    seen = f"last seen {host.mark.seconds:.0f} s ago" if host.is_live else "LOST"
    if host.is_live and host.mark.seconds > DEAD_AFTER_SECONDS:
        seen += ", before PostgreSQL restarted"
    return f"{host.mark.name} on {host.mark.host}{slots}, {_age(host.mark)}, {seen}"


def _process_line(process: LockHolder, state: ClusterStatus) -> str:
    lost = {process_of(host.mark.host, host.mark.name) for host in state.hosts if not host.is_live}
    note = ", which is LOST: the next writer takes the lock a minute after its last sign of life"
    return f"{process}{note if process.host in lost else ''}"


def _age(mark: Mark) -> str:
    return f"since {datetime.fromtimestamp(mark.since_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _process(process: LockHolder) -> Mapping[str, object]:
    return asdict(process) | {"since": _time(process.since)}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
