"""The Celery app of the workers: each message is a run, which one process executes once.

`lfp worker` starts `celery -A lfp_pipeline.dagster_support.celery_app worker`. Redis may deliver a
message twice, and may lose it. So a process takes the mark of the run before it begins, and ends
where another one has it; a run without a mark is failed after a while, and requested again.

DuckDB starts threads, which a fork would lose. So the worker's main process must not import it;
each of its processes does, with its first run, and then executes many runs.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
from celery import Celery
from celery.platforms import set_pdeathsig
from celery.signals import setup_logging, worker_init
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app

from lfp_pipeline.common.text import printable
from lfp_pipeline.hosts.broker import broker_url
from lfp_pipeline.hosts.liveness import Kind, MarkTakenError, liveness_of
from lfp_pipeline.settings import Settings, load_settings

_LOG = logging.getLogger(__name__)

QUEUE = "dagster"

_LOOK_SECONDS = 5.0
_RUNS_OF_A_PROCESS = 100

_ENDED = {
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.CANCELED,
    dg.DagsterRunStatus.FAILURE,
}


def celery_app(settings: Settings) -> Celery:
    """Return the app, for the broker of the settings."""
    created: Celery = make_app({"broker": broker_url(settings)})
    created.conf.update(
        # No result is kept: Dagster's storage and the marks of the runs say what became of them.
        result_backend=None,
        task_ignore_result=True,
        # A worker fetches only what it can begin at once: others would be idle meanwhile.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=_RUNS_OF_A_PROCESS,
        # A message of a lost worker is of no use: its run has failed long before.
        broker_transport_options={
            "visibility_timeout": 7 * 86_400,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A run goes on without the broker, and its message comes again in vain.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # The launcher tries again by itself: the run stays in Dagster's queue.
        task_publish_retry=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return created


app = celery_app(load_settings())


class _Lines(logging.Formatter):
    """A line for each message; an outage of Redis would else give a traceback for each attempt."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {record.getMessage().strip()}"
        if record.exc_info and record.levelno >= logging.CRITICAL:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


@setup_logging.connect
def _set_up_logging(**_: object) -> None:
    """Print warnings of Celery and of this module; Dagster prints what runs log."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    for name in ("celery", "kombu", __name__):
        logging.getLogger(name).addHandler(handler)


@worker_init.connect
def _end_with_parent(**_: object) -> None:
    """Let the kernel end this worker in order if `lfp worker` is killed."""
    if parent := os.environ.get("_LFP_WORKER"):
        set_pdeathsig("SIGTERM")
        if os.getppid() != int(parent):
            os.kill(os.getpid(), signal.SIGTERM)


@app.task(name=TASK_EXECUTE_JOB_NAME)
def execute_job(execute_job_args_packed: Any) -> None:  # noqa: ANN401 (of the launcher)
    """Execute a run, unless another process does, or has done."""
    from lfp_pipeline.dagster_support.runs import mark_text  # noqa: PLC0415 (imports DuckDB)

    run_id = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs).run_id
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None:
            _LOG.warning("Run %s was deleted; its message is ignored.", run_id)
            return
        try:
            with (
                liveness_of(load_settings()).hold(Kind.RUN, run_id, mark_text(run)),
                _interrupted_once_it_has_ended(instance, run_id),
            ):
                begun = f"Run {run_id[:8]}: {printable(mark_text(run))}"
                print(begun, file=sys.stderr, flush=True)  # noqa: T201 (the log of the worker)
                _execute_run_command_body(
                    run_id, instance, _discard, set_exit_code_on_failure=False
                )
        except MarkTakenError:
            _LOG.warning("Run %s has begun elsewhere; its second message is ignored.", run_id)


def _discard(_event: dg.DagsterEvent) -> None:
    pass


@contextmanager
def _interrupted_once_it_has_ended(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Interrupt the block if its run is canceled, or is declared dead.

    Other processes write that into Dagster's storage. A worker has no other way to hear of it: the
    broker may be down.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            with suppress(Exception):  # The storage cannot be reached for now.
                run = instance.get_run_by_id(run_id)
                if run is None or run.status in _ENDED:
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    def interrupt(_signum: int, _frame: object) -> None:
        if not ended.is_set():
            raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=watch, name=f"watches run {run_id}", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:  # The run has just ended.
        _LOG.warning("Run %s was interrupted.", run_id)
    finally:
        ended.set()
        signal.signal(signal.SIGINT, former)
