"""The status of several hosts as text."""

import pytest

from lfp_pipeline.hosts.liveness import WORKER_VARIABLE, Mark, host_name
from lfp_pipeline.hosts.members import Member
from lfp_pipeline.operations.cluster_status import (
    ClusterStatus,
    Host,
    Lag,
    render_cluster_status,
    render_lag,
)
from lfp_pipeline.warehouse.writer_lock import LockHolder


def host(name: str, *, is_live: bool = True, seconds: float = 4) -> Host:
    mark = Mark(f"worker {name}", "", since_ns=0, host="box", seconds=seconds)
    return Host(mark, Member("worker", 2), is_live)


def writer(monkeypatch: pytest.MonkeyPatch, worker: str) -> LockHolder:
    """Return the holder of the lock as a process of a worker on the host `box` says it."""
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    monkeypatch.setenv(WORKER_VARIABLE, worker)
    return LockHolder("merging", 7, host_name(), since=0)


def status(
    *hosts: Host,
    runs: tuple[Mark, ...] = (),
    open_runs: dict[str, int] | None = None,
    writer: LockHolder | None = None,
) -> str:
    return render_cluster_status(
        ClusterStatus(
            hosts=hosts,
            runs=runs,
            open_runs=open_runs or {},
            messages=0,
            writer=writer,
            waiting=[],
            problems=[],
        )
    )


def test_workers_of_one_host_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = writer(monkeypatch, "a")
    run = Mark("0123456789", "ingest_products a.csv", since_ns=0, host=host_name())
    lines = status(host("a"), host("b"), runs=(run,), writer=holder)
    assert "01234567  ingest_products a.csv  on box, worker a, since" in lines
    assert "process 7 on box, worker a (merging) for" in lines
    assert "LOST" not in lines


def test_a_writer_of_a_lost_worker_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = writer(monkeypatch, "a")
    lost = host("a", is_live=False)
    (line,) = [line for line in status(lost, host("b"), writer=holder).split("\n") if "(m" in line]
    assert "which is LOST" in line
    assert "which is LOST" not in status(host("a"), host("b", is_live=False), writer=holder)


def test_a_host_that_was_not_seen_since_a_restart_is_marked() -> None:
    assert "before PostgreSQL restarted" in status(host("a", seconds=721))
    assert "before PostgreSQL restarted" not in status(host("a"))


def test_runs_in_progress_are_not_repeated_in_the_queue() -> None:
    run = Mark("0123456789", "ingest_products a.csv", since_ns=0, host="box")
    assert "Queue" not in status(runs=(run,), open_runs={"started": 1})
    lines = status(runs=(run,), open_runs={"started": 3, "queued": 4, "not_started": 5})
    assert "2  begun, without a heartbeat" in lines
    assert "4  queued, until a worker has a free slot" in lines
    assert "5  requested, not queued yet" in lines
    assert "not_started" not in lines


def test_an_unknown_lag_is_not_shown_as_none() -> None:
    assert render_lag(Lag(None, None, None, ["why"])).split("\n")[:2] == ["Lag", "  unknown"]
    assert "no file is pending" in render_lag(Lag(0, None, 0, []))
