"""A process on a host, which does the jobs that it reads from its standard input.

Each line there is a job; each line on the standard output says that the process waits at a step, or
that a job has ended.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.settings import load_settings
from lfp_pipeline.sources.local_file import LocalFile
from lfp_pipeline.warehouse import lake_connection, lake_maintenance
from verification.crash.steps import Kill
from verification.hosts.steps import LakeSteps, step_of

READY, AT_STEP, ENDED = "ready", "at step", "ended"
DELIVER, INGEST, MAINTAIN = "deliver", "ingest", "maintain"

RETRIES = "BENCH_RETRIES"
"""In the environment: how often DuckLake repeats a commit that has met another one; else never."""

_RETENTION, _GRACE = timedelta(seconds=15), timedelta(seconds=30)

_LOG = logging.getLogger("worker")


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        work: a name of `WORKS`.
        files: the paths of the files to deliver; their names are the partition keys.
        stop: the step at which the process waits for a line: its name, the occurrence, and whether
            after the step.
    """

    work: str
    files: Sequence[str] = ()
    stop: tuple[str, int, bool] | None = None


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Attributes:
        problem: what went wrong; None: nothing.
        is_for_users: whether the problem is an error that is written for users.
        seconds: how long the job took.
        steps: how often each step was taken.
        figures: what was done, of a maintenance.
    """

    problem: str | None
    is_for_users: bool
    seconds: float
    steps: Mapping[str, int]
    figures: Mapping[str, int]


def main() -> None:
    """Do jobs until the standard input ends."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(message)s"
    )
    if retries := os.environ.get(RETRIES):
        lake_connection._SETTINGS += (f"SET ducklake_max_retry_count = {int(retries)}",)  # noqa: SLF001
    engine = Engine(load_settings())
    _say(READY)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        _LOG.info("Job: %s", job)
        ended = _do(job, engine)
        _LOG.info("%s", ended)
        _say(ENDED, **vars(ended))


def _do(job: Job, engine: Engine) -> Ended:
    step, occurrence, after = job.stop or (None, 0, False)
    steps = LakeSteps(Kill(step_of(step), occurrence, after) if step else None, _wait)
    started = time.monotonic()
    problem, is_for_users, figures = None, True, Counter[str]()
    try:
        with steps.watched():
            problem = "; ".join(filter(None, WORKS[job.work](engine, job.files, figures))) or None
    except LfpError as error:
        problem = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (each is a finding)
        problem, is_for_users = f"{type(error).__name__}: {error}", False
        _LOG.exception("Not an error for users")
    seconds = time.monotonic() - started
    return Ended(problem, is_for_users, seconds, dict(steps.counts), figures)


def _wait() -> None:
    _say(AT_STEP)
    sys.stdin.readline()


def _say(event: str, **details: Any) -> None:  # noqa: ANN401
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


# The works. Each yields what went wrong.


def deliver(engine: Engine, files: Sequence[str], _: Counter[str]) -> Iterator[str]:
    """Land files, and ingest them and nothing else."""
    landed = [engine.land(LocalFile(Path(path)), Path(path).name, _LOG) for path in files]
    yield from map(_problem, engine.ingest_all([], landed, _LOG))


def ingest(engine: Engine, _: Sequence[str], __: Counter[str]) -> Iterator[str]:
    """Ingest all that has landed and is pending."""
    yield from map(_problem, engine.ingest_all([], engine.pending_deliveries(_LOG), _LOG))


def _problem(result: IngestResult | LandingFailure) -> str:
    if isinstance(result, LandingFailure):
        return f"{result.partition_key} did not land: {result.error}"
    if result.account.status is not Status.MERGED:
        return f"{result.delivery.delivery_id}: {result.account.status}, {result.account.error}"
    return ""


def maintain(engine: Engine, _: Sequence[str], figures: Counter[str]) -> Iterator[str]:
    """Compact the lake, expire snapshots, and remove files, after seconds instead of hours."""
    with patch.multiple(lake_maintenance, GRACE=_GRACE, ORPHAN_AGE=2 * _GRACE):
        done = engine.warehouse.maintain(_RETENTION, _LOG, dry_run=False)
    assert done is not None
    figures.update(vars(done))
    yield from ()


Work = Callable[[Engine, Sequence[str], Counter[str]], Iterator[str]]

WORKS: Mapping[str, Work] = {
    DELIVER: deliver,
    INGEST: ingest,
    MAINTAIN: maintain,
}


if __name__ == "__main__":
    main()
