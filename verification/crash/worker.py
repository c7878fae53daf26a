"""What a process does that may be killed: a work, on a data folder that it shares with others."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from lfp_pipeline.definitions import definitions
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, LfpError, OperationRefusedError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.raw_zone.desired_state import is_pruned, is_reverted
from lfp_pipeline.settings import load_settings
from testing.engine import LOG
from testing.project import Project
from verification.crash.steps import Death, Steps

LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Conditions:
    """How a data folder is worked on, so that every way through the product is taken.

    Attributes:
        name: for people.
        batch_files: most files that are merged together.
        checkpoints: whether the write-ahead log goes into the database after each merge.
        loads_directly: whether even the smallest regular file is loaded directly.
        large: whether large files are among the others.
    """

    name: str
    batch_files: int = 1
    checkpoints: bool = False
    loads_directly: bool = False
    large: bool = False


@dataclass(frozen=True)
class Job:
    """What one process is to do, and where it dies.

    Attributes:
        work: a name of `WORKS`.
        arguments: what it is told; of an ingest, the partitions that are its share; none: all. What
            an operator's work is about is drawn when its round begins (`History.draw`).
        death: at which step it kills itself.
        killed_after: the seconds after which it is killed, whatever it is at.
    """

    work: str
    arguments: tuple[str, ...] = ()
    death: Death | None = None
    killed_after: float | None = None

    @property
    def is_to_die(self) -> bool:
        return self.death is not None or self.killed_after is not None


def run(job: Job, folder: Path, conditions: Conditions, counts: Connection) -> None:
    """Do a job in this process, and tell how often each step was taken, if it lives that long."""
    log = (folder / LOG_FILE).open("a")
    os.dup2(log.fileno(), sys.stderr.fileno())
    logging.basicConfig(
        stream=log, level=logging.INFO, format=f"{os.getpid()} %(message)s", force=True
    )
    os.environ |= settings_of(folder, conditions)
    steps = Steps(job.death)
    with _under(conditions), steps.watched():
        WORKS[job.work](folder, job.arguments)
    counts.send(steps.counts)


def settings_of(folder: Path, conditions: Conditions) -> dict[str, str]:
    """The settings of every process that works on a folder, as environment."""
    return {
        "LFP_DATA_DIR": str(folder / "data"),
        "LFP_THREADS": "2",
        "LFP_INBOX_QUIET_SECONDS": "0",
        "LFP_MAX_REJECT_SHARE": "1",
        "LFP_BATCH_FILES": str(conditions.batch_files),
    }


@contextmanager
def _under(conditions: Conditions) -> Iterator[None]:
    if conditions.checkpoints:
        with patch("lfp_pipeline.common.duckdb_tools._LARGE_LOG_BYTES", 0):
            yield
    elif conditions.loads_directly:
        with (
            patch("lfp_pipeline.warehouse.direct_load.LEAST_BYTES", 0),
            patch("lfp_pipeline.warehouse.direct_load.should_load_directly", lambda *_: True),
            patch("lfp_pipeline.ingest.batch_merge.size_in_bytes", lambda _: 0),
        ):
            yield
    else:
        yield


# The works. Where the process of an ingest was killed, it is simply done again; where that of an
# operator's work was, an ingest of all finishes what had begun.


def ingest(folder: Path, keys: Sequence[str]) -> None:
    """Take in what is pending in the inbox and the raw zone: of some partitions, or all of it."""
    del folder  # It is in the settings.
    engine = Engine(load_settings())
    files = engine.pending_inbox(LOG).ready
    deliveries = engine.pending_deliveries(LOG, offered=files)
    outcomes = list(
        engine.ingest_all(
            [one for one in files if not keys or one.partition_key in keys],
            [one for one in deliveries if not keys or one.partition_key in keys],
            LOG,
        )
    )
    for outcome in outcomes:
        assert isinstance(outcome, IngestResult), outcome
        assert outcome.account.status in {Status.MERGED, Status.REVERTED}, outcome


MOST_TICKS = 4


def sense(folder: Path, arguments: Sequence[str]) -> None:
    """Evaluate the sensor, and run what it asks for, until it asks for nothing more."""
    del arguments
    home = folder / "home"
    home.mkdir(exist_ok=True)
    engine = Engine(load_settings())
    repository = definitions().get_repository_def()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        project = Project(folder / "data", instance, engine, repository, home)
        # As Dagster's daemon does when it starts again: what it had created, it launches.
        created = dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])
        for run in instance.get_runs(created):
            job = InMemoryJob(repository.get_job(run.job_name))
            assert execute_run(job, run, instance).success
        for _ in range(MOST_TICKS):
            runs = project.do(project.tick())
            assert all(run.success for run in runs)
            if not runs:
                return
    msg = "The sensor goes on asking."
    raise AssertionError(msg)


LANDS_WITHIN_SECONDS = 1.5


def revert(folder: Path, arguments: Sequence[str]) -> None:
    """Revert a delivery that has landed, or that another process may land just now."""
    del folder
    (delivery_id,) = arguments
    engine = Engine(load_settings())
    given_up = time.monotonic() + LANDS_WITHIN_SECONDS
    while True:
        try:
            raw = engine.raw_zone.find(delivery_id).path
            break
        except LandingError:
            if time.monotonic() > given_up:
                return
            time.sleep(0.02)
    try:
        revert_delivery(engine, delivery_id, LOG)
    except OperationRefusedError:
        assert any(is_pruned(one.path) for one in engine.raw_zone.all_deliveries())
    else:
        assert is_reverted(raw)


def reinstate(folder: Path, arguments: Sequence[str]) -> None:
    """Reinstate a delivery."""
    del folder
    (delivery_id,) = arguments
    engine = Engine(load_settings())
    raw = engine.raw_zone.find(delivery_id).path
    try:
        reinstate_delivery(engine, delivery_id, LOG)
    except OperationRefusedError:
        assert is_pruned(raw) or not is_reverted(raw)
    except LfpError:
        assert is_reverted(raw)
        assert _is_completed(engine, delivery_id)
    else:
        assert not is_reverted(raw) or _is_completed(engine, delivery_id)


def _is_completed(engine: Engine, delivery_id: str) -> bool:
    """Whether another delivery completes that one: it may be merged at any moment."""
    return any(one.completes == delivery_id for one in engine.raw_zone.all_deliveries())


def purge(folder: Path, arguments: Sequence[str]) -> None:
    """Purge these skus, or all products where there are none; fewer, where dates differ much."""
    del folder
    engine = Engine(load_settings())
    if arguments:
        selection, fewer = Selection(skus=arguments), Selection(skus=arguments[:1])
    else:
        selection, fewer = Selection(everything=True), Selection(older_than_days=2)
    try:
        purge_products(engine, selection, LOG)
    except OperationRefusedError:
        purge_products(engine, fewer, LOG)


def prune(folder: Path, arguments: Sequence[str]) -> None:
    """Prune all that the tables do not need."""
    del folder, arguments
    prune_raw(Engine(load_settings()), 0, LOG)


def rebuild(folder: Path, arguments: Sequence[str]) -> None:
    """Make the database anew."""
    del folder, arguments
    rebuild_products(Engine(load_settings()), LOG)


Work = Callable[[Path, Sequence[str]], None]

INGEST, SENSE = "ingest", "sense"
REVERT, REINSTATE, PURGE, PRUNE, REBUILD = "revert", "reinstate", "purge", "prune", "rebuild"
OPERATIONS = (REVERT, REINSTATE, PURGE, REBUILD, PRUNE)
"""The works of operators."""

WORKS: Mapping[str, Work] = {
    INGEST: ingest,
    SENSE: sense,
    REVERT: revert,
    REINSTATE: reinstate,
    PURGE: purge,
    PRUNE: prune,
    REBUILD: rebuild,
}
"""By the names that jobs have.

Another work is added here; `Plan` draws when it has its turn, `History` tells what it leaves.
"""
