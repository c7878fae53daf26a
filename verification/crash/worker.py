"""The works of processes that may be killed, on a data folder that they share."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.settings import load_settings
from testing.dagster_project import Project
from testing.engine import LOG, loading_deltas, loading_directly
from testing.raw_marks import dismissed_rejects, is_pruned, is_reverted
from verification.crash.steps import Kill, Steps

LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Conditions:
    """Settings and limits in a data folder, so that campaigns take every way through the product.

    Attributes:
        name: for people.
        batch_files: the limit of files that are merged together.
        checkpoints: whether each merge ends with a checkpoint.
        loads_directly: whether even the smallest regular file is loaded directly.
        loads_deltas: whether even the smallest file is loaded as a delta, where it has a base.
        large: whether large files are among the others.
    """

    name: str
    batch_files: int = 1
    checkpoints: bool = False
    loads_directly: bool = False
    loads_deltas: bool = False
    large: bool = False


@dataclass(frozen=True)
class Job:
    """The job of one process, and its kill point.

    Attributes:
        work: a name of `WORKS`.
        arguments: of an ingest, the partitions that are its share, or none for all. Those of an
            operator's work are drawn when its round begins (`History.draw`).
        kill: the step at which the process kills itself.
        killed_after: the seconds after which the campaign kills the process.
    """

    work: str
    arguments: tuple[str, ...] = ()
    kill: Kill | None = None
    killed_after: float | None = None

    @property
    def is_killed(self) -> bool:
        return self.kill is not None or self.killed_after is not None


def run(job: Job, folder: Path, conditions: Conditions, counts: Connection) -> None:
    """Do a job in this process; send how often each step was taken, if nothing kills it."""
    log = (folder / LOG_FILE).open("a")
    os.dup2(log.fileno(), sys.stderr.fileno())
    logging.basicConfig(
        stream=log, level=logging.INFO, format=f"{os.getpid()} %(message)s", force=True
    )
    os.environ |= {
        "LFP_DATA_DIR": str(folder / "data"),
        "LFP_THREADS": "2",
        "LFP_INBOX_STABLE_SECONDS": "0",
        "LFP_MAX_REJECT_SHARE": "1",
        "LFP_BATCH_FILES": str(conditions.batch_files),
    }
    steps = Steps(job.kill)
    with _under(conditions), steps.watched():
        WORKS[job.work](job.arguments)
    counts.send(steps.counts)


@contextmanager
def _under(conditions: Conditions) -> Iterator[None]:
    with ExitStack() as stack:
        if conditions.checkpoints:
            stack.enter_context(patch("lfp_pipeline.common.duckdb_tools._LARGE_LOG_BYTES", 0))
        elif conditions.loads_directly:
            stack.enter_context(loading_directly())
            stack.enter_context(patch("lfp_pipeline.ingest.batch_merge.size_in_bytes", lambda _: 0))
        elif conditions.loads_deltas:
            stack.enter_context(loading_deltas())
        yield


# The works. An ingest of everything completes any work that was killed.


def ingest(keys: Sequence[str]) -> None:
    """Ingest what is pending in the inbox and the raw zone, of some partitions or of all."""
    engine = Engine(load_settings())
    files = engine.pending_inbox(LOG).ready
    deliveries = engine.pending_deliveries(LOG, offered=files)
    results = list(
        engine.ingest_all(
            [file for file in files if not keys or file.partition_key in keys],
            [other for other in deliveries if not keys or other.partition_key in keys],
            LOG,
        )
    )
    for result in results:
        assert isinstance(result, IngestResult), result
        assert result.account.status in {Status.MERGED, Status.REVERTED}, result


MAX_TICKS = 4


def sense(_: Sequence[str]) -> None:
    """Evaluate the sensor and do the runs that it requests, until it requests none."""
    engine = Engine(load_settings())
    data = engine.settings.data_dir
    home = data.with_name("home")
    home.mkdir(exist_ok=True)
    repository = definitions().get_repository_def()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        project = Project(data, instance, engine, repository, home)
        # Runs that were created and not launched are launched by Dagster's daemon when it starts.
        created = dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED])
        for run in instance.get_runs(created):
            job = InMemoryJob(repository.get_job(run.job_name))
            assert execute_run(job, run, instance).success
        for _ in range(MAX_TICKS):
            runs = project.do(project.tick())
            assert all(run.success for run in runs)
            if not runs:
                return
    msg = f"The sensor still requests runs after {MAX_TICKS} ticks."
    raise AssertionError(msg)


LANDS_WITHIN_SECONDS = 1.5


def revert(arguments: Sequence[str]) -> None:
    """Revert a delivery that has landed, or that another process lands soon."""
    (delivery_id,) = arguments
    engine = Engine(load_settings())
    deadline = time.monotonic() + LANDS_WITHIN_SECONDS
    while True:
        try:
            raw = engine.raw_zone.find(delivery_id).path
            break
        except LandingError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
    try:
        revert_delivery(engine, delivery_id, LOG)
    except OperationRefusedError:
        assert any(is_pruned(one.path) for one in engine.raw_zone.all_deliveries())
    else:
        assert is_reverted(raw)


def reinstate(arguments: Sequence[str]) -> None:
    """Reinstate a delivery."""
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
    """Whether another delivery completes this one, and may revert it at any time."""
    return any(one.completes == delivery_id for one in engine.raw_zone.all_deliveries())


def dismiss(arguments: Sequence[str]) -> None:
    """Dismiss the rejected rows of a delivery that is merged, or that another process merges soon.

    Nothing is dismissed if they need no attention.
    """
    (delivery_id,) = arguments
    engine = Engine(load_settings())
    deadline = time.monotonic() + LANDS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        with suppress(LandingError, OperationRefusedError):
            dismiss_delivery(engine, delivery_id, LOG)
            assert dismissed_rejects(engine.raw_zone.find(delivery_id).path)
            return
        time.sleep(0.1)


def purge(arguments: Sequence[str]) -> None:
    """Purge these skus, or all products if there are none; fewer, where a purge is refused."""
    engine = Engine(load_settings())
    if arguments:
        selection, fewer = Selection(skus=arguments), Selection(skus=arguments[:1])
    else:
        selection, fewer = Selection(everything=True), Selection(older_than_days=2)
    try:
        purge_products(engine, selection, LOG)
    except OperationRefusedError:
        purge_products(engine, fewer, LOG)


Work = Callable[[Sequence[str]], object]

INGEST, SENSE = "ingest", "sense"
REVERT, REINSTATE, DISMISS = "revert", "reinstate", "dismiss"
PURGE, PRUNE, REBUILD = "purge", "prune", "rebuild"
OPERATIONS = (REVERT, REINSTATE, DISMISS, PURGE, REBUILD, PRUNE)
"""The works of operators."""

WORKS: Mapping[str, Work] = {
    INGEST: ingest,
    SENSE: sense,
    REVERT: revert,
    REINSTATE: reinstate,
    DISMISS: dismiss,
    PURGE: purge,
    PRUNE: lambda _: prune_raw(Engine(load_settings()), 0, LOG),
    REBUILD: lambda _: rebuild_products(Engine(load_settings()), LOG),
}
"""Works by name. `Plan` gives each its turn, `History` checks what it leaves."""
