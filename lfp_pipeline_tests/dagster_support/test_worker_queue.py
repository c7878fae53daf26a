"""The queue between head and workers: lost workers, lost and repeated messages, a broker that ends.

All processes are real; a test holds the writer lock where a run is to last.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from lfp_pipeline.engine import Engine
from testing.cluster import Cluster
from testing.processes import PROJECT, until

pytest.importorskip("dagster_celery")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOG = logging.getLogger("test")

SEND = """
import sys
import dagster as dg
from dagster._core.launcher import LaunchRunContext
from lfp_pipeline.definitions import definitions
times = int(sys.argv[1])
with dg.DagsterInstance.get() as instance:
    job = definitions().get_repository_def().get_job("ingest_inbox")
    if len(sys.argv) > 2:
        run = instance.get_run_by_id(sys.argv[2])
    else:
        from dagster._core.definitions.reconstruct import ReconstructableRepository
        code = ReconstructableRepository.for_module(
            "lfp_pipeline.definitions", "definitions"
        ).get_reconstructable_job("ingest_inbox").get_python_origin()
        run = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTING, job_code_origin=code
        )
    for _ in range(times):
        instance.run_launcher.launch_run(LaunchRunContext(run, None))
    print(run.run_id)
"""
"""Sends the message of a run several times. Arguments: how often; the run, or a new one is made."""


def send(cluster: Cluster, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SEND, *map(str, arguments)],
        cwd=cluster.folder,
        env=cluster.environment | {"DAGSTER_HOME": str(cluster.folder / ".dagster_home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def writer_lock(cluster: Cluster) -> Iterator[None]:
    """Hold the writer lock of the hosts, so that their runs last."""
    with cluster.settings() as settings:
        engine = Engine(settings)
    with engine.warehouse.lock.held("testing", LOG):
        yield


def statuses(cluster: Cluster) -> list[str]:
    """Return the statuses of the runs that ingest, the oldest first."""
    return [run.status.value for run in runs(cluster)]


def runs(cluster: Cluster) -> list[dg.DagsterRun]:
    return [run for run in cluster.runs() if run.job_name.startswith("ingest")]


def is_waiting_for_the_writer(cluster: Cluster) -> bool:
    return bool(cluster.status()["waiting"])


def assert_merged_once(cluster: Cluster) -> None:
    assert cluster.query("SELECT sku, name FROM products ORDER BY sku") == [
        {"sku": "s1", "name": "Ann"},
        {"sku": "s2", "name": "Bob"},
    ]
    assert cluster.query("SELECT status FROM deliveries") == [{"status": "merged"}]
    assert cluster.lfp("verify").returncode == 0


def test_the_run_of_a_lost_host_is_failed_in_time_and_its_file_ingested_elsewhere_once(
    cluster: Cluster,
) -> None:
    cluster.start_head()
    lost = cluster.start_worker("lost")
    with writer_lock(cluster):
        cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
        until(lambda: is_waiting_for_the_writer(cluster), 90)
        lost.send_all(signal.SIGKILL)
        lost_at = time.monotonic()
        cluster.start_worker("other")
    until(lambda: "FAILURE" in statuses(cluster), 100)
    assert time.monotonic() - lost_at < 90
    until(lambda: statuses(cluster) == ["FAILURE", "SUCCESS"], 60)
    assert_merged_once(cluster)
    state = cluster.status()
    assert any("worker lost on" in problem for problem in state["problems"])


def test_a_suspended_run_is_failed_and_interrupted_when_it_continues(cluster: Cluster) -> None:
    cluster.start_head()
    suspended = cluster.start_worker("suspended")
    with writer_lock(cluster):
        cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
        until(lambda: is_waiting_for_the_writer(cluster), 90)
        suspended.send_all(signal.SIGSTOP)
        other = cluster.start_worker("other")
        until(lambda: statuses(cluster)[0] == "FAILURE", 90)
        until(lambda: "Waiting for the writer lock" in other.output(), 90)
        suspended.send_all(signal.SIGCONT)
        until(lambda: "Stopping as soon as" in suspended.output(), 60)
    until(lambda: statuses(cluster)[1:] == ["SUCCESS"], 60)
    assert_merged_once(cluster)
    assert "other hosts have declared this process dead" in suspended.output()
    until(lambda: statuses(cluster)[0] in {"FAILURE", "CANCELED"}, 30)


def test_a_message_that_comes_twice_is_executed_once(cluster: Cluster) -> None:
    assert cluster.lfp("dev", "--help").returncode == 0
    cluster.runs()  # Prepares the home.
    worker = cluster.start_worker("one", slots=3)
    with writer_lock(cluster):
        cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
        run_id = send(cluster, 3)
        until(lambda: worker.output().count("has begun elsewhere") == 2, 60)
        until(lambda: is_waiting_for_the_writer(cluster), 60)
    until(lambda: statuses(cluster) == ["SUCCESS"], 60)
    send(cluster, 1, run_id)
    with cluster.instance() as instance:

        def messages() -> list[str]:
            return [entry.message for entry in instance.all_logs(run_id)]

        until(lambda: any("already finished" in message for message in messages()), 60)
        begun = [entry for entry in instance.all_logs(run_id) if entry.is_dagster_event]
        assert [
            entry.dagster_event_type
            for entry in begun
            if entry.dagster_event_type
            in {dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS}
        ] == [dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS]
    assert statuses(cluster) == ["SUCCESS"]
    assert_merged_once(cluster)


def test_a_run_whose_message_is_lost_fails_is_no_attempt_and_is_requested_again(
    cluster: Cluster,
) -> None:
    cluster.start_head()
    worker = cluster.start_worker("one")
    worker.send_all(signal.SIGSTOP)  # Its slot counts for a minute, and it fetches nothing.
    cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
    until(lambda: cluster.status()["messages"] == 1, 60)
    cluster.redis.client().flushall()
    worker.send_all(signal.SIGCONT)
    until(lambda: statuses(cluster) == ["FAILURE", "SUCCESS"], 150)
    assert_merged_once(cluster)
    first, second = runs(cluster)
    assert first.tags["lfp/not_tried"] == "a.csv"
    assert second.tags["lfp/version"] == first.tags["lfp/version"]
    with cluster.instance() as instance:
        failures = [entry.message for entry in instance.all_logs(first.run_id)]
    assert any("No worker has begun this run" in message for message in failures)


def test_runs_wait_while_the_broker_is_down_and_begin_once_it_is_back(cluster: Cluster) -> None:
    head, worker = cluster.start_head(), cluster.start_worker("one")
    cluster.redis.stop()
    cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
    until(lambda: "QUEUED" in statuses(cluster), 60)
    time.sleep(15)
    assert statuses(cluster) in (["QUEUED"], ["STARTING"]), head.output()
    cluster.redis.start()
    until(lambda: statuses(cluster) == ["SUCCESS"], 120)
    assert_merged_once(cluster)
    assert "Traceback" not in worker.output()


def test_a_worker_finishes_its_runs_on_a_signal_and_drops_them_on_the_second(
    cluster: Cluster,
) -> None:
    cluster.start_head()
    worker = cluster.start_worker("one")
    with writer_lock(cluster):
        cluster.drop("a.csv", "s1,Ann,x")
        until(lambda: is_waiting_for_the_writer(cluster), 90)
        worker.send(signal.SIGTERM)
        until(lambda: "worker one" not in cluster.names_of_hosts(), 30)
        time.sleep(3)
        assert worker.process.poll() is None
    assert worker.process.wait(60) == 0
    assert statuses(cluster) == ["SUCCESS"]
    worker = cluster.start_worker("one")
    with writer_lock(cluster):
        cluster.drop("b.csv", "s2,Bob,x")
        until(lambda: is_waiting_for_the_writer(cluster), 90)
        worker.send(signal.SIGTERM)
        until(lambda: "Finishing" in worker.output(), 30)
        worker.send(signal.SIGTERM)
        worker.process.wait(15)


def test_the_main_process_of_a_worker_does_not_import_duckdb() -> None:
    code = """
import sys, threading
import lfp_pipeline.dagster_support.celery_app
assert "duckdb" not in sys.modules and "numpy" not in sys.modules
assert threading.active_count() == 1
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False)
    assert done.returncode == 0


def test_a_run_that_is_canceled_ends_after_the_files_that_it_reads(cluster: Cluster) -> None:
    cluster.start_head()
    worker = cluster.start_worker("one")
    with writer_lock(cluster):
        cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
        until(lambda: is_waiting_for_the_writer(cluster), 90)
        with cluster.instance() as instance:
            assert instance.run_launcher.terminate(runs(cluster)[0].run_id)
        until(lambda: "Stopping as soon as" in worker.output(), 60)
    until(lambda: statuses(cluster)[0] == "CANCELED", 60)


def test_a_worker_goes_on_after_celery_has_ended_by_itself(cluster: Cluster):
    """As it does now and then when Redis crashes while a run is in progress."""
    cluster.start_head()
    worker = cluster.start_worker("one")
    time.sleep(11)  # A worker whose process ends earlier is taken for one that cannot work.
    celery, *_ = (pid for pid in worker.processes() if pid != worker.process.pid)
    os.kill(celery, signal.SIGKILL)
    until(lambda: "It is started again" in worker.output(), 60)
    cluster.drop("a.csv", "s1,Ann,x", "s2,Bob,y")
    until(lambda: "SUCCESS" in statuses(cluster), 240)
    assert_merged_once(cluster)
    assert worker.process.poll() is None, worker.output()
