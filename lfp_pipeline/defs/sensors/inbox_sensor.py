"""The sensor that requests runs for files of the inbox."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg

from lfp_pipeline.common.backoff import Backoff, is_backing_off
from lfp_pipeline.dagster_support.partitions import product_files
from lfp_pipeline.dagster_support.runs import (
    MAX_RETRIES_TAG,
    SENSOR_TAG,
    VERSION_TAG,
    fail_dead_runs,
    files_tag,
)
from lfp_pipeline.defs.jobs import ingest_inbox, ingest_products
from lfp_pipeline.defs.sensors.attempts import Attempts, count_attempts
from lfp_pipeline.defs.sensors.inbox_planner import (
    MAX_OPEN_RUNS,
    FileVersion,
    RunBatch,
    RunHistory,
    RunLimits,
    decide,
)
from lfp_pipeline.defs.sensors.inbox_watch import InboxWatch
from lfp_pipeline.engine import Engine
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.inbox import InboxFile, Listing

NAME = "file_drop_sensor"
BACKOFF = Backoff(base=30.0, limit=600.0)

_COUNTING = "Counting the earlier runs of this sensor. No file is requested until then."


def build_file_drop_sensor(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor, with its minimum interval."""

    @dg.sensor(
        name=NAME,
        jobs=[ingest_products, ingest_inbox],
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ingests files that are dropped into the inbox, and new versions of them.",
    )
    def file_drop_sensor(
        context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> dg.SensorResult:
        settings = engine.settings
        # Only ticks of the daemon wait for files: others have no start time.
        is_watching = context.last_sensor_start_time is not None and settings.sensor_watch_seconds
        deadline = time.monotonic() + (settings.sensor_watch_seconds if is_watching else 0)
        fail_dead_runs(engine, context.instance, context.log)
        if not is_watching:
            return _evaluate(engine.catalog.list_inbox(), context.cursor, context, engine).result
        watch = InboxWatch(engine.catalog)
        cursor = context.cursor
        while True:
            found = _evaluate(watch.listing, cursor, context, engine)
            cursor = found.result.cursor
            if found.is_counting and time.monotonic() < deadline:
                continue
            if found.result.run_requests or not watch.wait(deadline, found.has_a_run_ended):
                return found.result

    return file_drop_sensor


@dataclass(frozen=True)
class _Evaluation:
    """The result of a tick.

    Attributes:
        result: what to request.
        waiting_for: the runs whose end lets files be requested that are due.
        is_counting: whether earlier runs are still to be counted.
    """

    result: dg.SensorResult
    instance: dg.DagsterInstance
    waiting_for: Sequence[str] = ()
    is_counting: bool = False

    def has_a_run_ended(self) -> bool:
        """Return whether one of the runs has ended that files wait for."""
        if not self.waiting_for:
            return False
        runs = self.instance.get_runs(dg.RunsFilter(run_ids=list(self.waiting_for)))
        return any(run.is_finished for run in runs)


def _evaluate(
    listing: Listing, cursor: str | None, context: dg.SensorEvaluationContext, engine: Engine
) -> _Evaluation:
    """Return what is to be requested for a listing of the inbox."""
    settings, instance = engine.settings, context.instance
    outcomes = engine.backlog.last_statuses(listing.ready)
    statuses = list(zip(listing.ready, outcomes, strict=True))
    attempts = count_attempts(
        cursor,
        NAME,
        {file.partition_key: file for file, status in statuses if status is None},
        {file.partition_key for file, status in statuses if status is not None},
        [partition_key(name) for name in listing.still_writing],
        listing.started - engine.catalog.complete_after_seconds,
        instance,
    )
    if not attempts.is_complete:
        result = dg.SensorResult(skip_reason=_COUNTING, cursor=attempts.cursor)
        return _Evaluation(result, instance, is_counting=True)
    history = _history(statuses, attempts, engine)
    plan = decide(listing, history, _limits(settings, instance), engine.catalog.set_apart)
    if not plan.batches:
        result = dg.SensorResult(skip_reason=plan.summary, cursor=attempts.cursor)
        return _Evaluation(result, instance, attempts.open if plan.waiting else ())
    context.log.info(plan.summary)
    keys = [file.partition_key for batch in plan.batches for file in batch.files]
    result = dg.SensorResult(
        run_requests=[_run_request(batch) for batch in plan.batches],
        dynamic_partitions_requests=[product_files.build_add_request(keys)],
        cursor=attempts.cursor,
    )
    return _Evaluation(result, instance)


def _limits(settings: Settings, instance: dg.DagsterInstance) -> RunLimits:
    """Return the limits of runs: on several hosts, files are spread over the slots of the workers.

    A merge of few files costs about as much as one of many. So small files that a run would merge
    together stay together.
    """
    limits = RunLimits(
        settings.sensor_max_attempts, settings.sensor_batch_bytes, settings.sensor_batch_files
    )
    queue = instance.get_concurrency_config().run_queue_config
    if settings.catalog is None or queue is None:
        return limits
    open_runs = max(queue.max_concurrent_runs, MAX_OPEN_RUNS)
    return replace(limits, open_runs=open_runs, spread_files=settings.batch_files)


def _run_request(batch: RunBatch) -> dg.RunRequest:
    """Return the run of a batch: of the assets for a single file, of ingest_inbox for several."""
    tags = {
        SENSOR_TAG: NAME,
        "lfp/attempt": str(max(batch.attempts)),
        MAX_RETRIES_TAG: "0",  # This sensor makes the next attempt, whatever the failure.
    }
    if len(batch.files) == 1:
        file = batch.files[0]
        return dg.RunRequest(
            run_key=batch.run_key,
            job_name=ingest_products.name,
            partition_key=file.partition_key,
            tags=tags | files_tag([file.name]) | {VERSION_TAG: file.version},
        )
    files = {file.partition_key: file.version for file in batch.files}
    return dg.RunRequest(
        run_key=batch.run_key,
        job_name=ingest_inbox.name,
        run_config={"ops": {"ingest": {"config": {"files": files}}}},
        tags=tags | files_tag([file.name for file in batch.files]),
    )


def _history(
    statuses: Sequence[tuple[InboxFile, Status | None]], attempts: Attempts, engine: Engine
) -> RunHistory:
    """Return the history of the files of the inbox, from the raw zone and this sensor's runs."""
    ended: dict[Status | None, set[FileVersion]] = defaultdict(set)
    for file, status in statuses:
        ended[status].add((file.partition_key, file.version))
    reversing = engine.backlog.partitions_being_reversed() if ended[None] else set()
    being_reversed = {version for version in ended[None] if version[0] in reversing}
    tries = {(key, count.version): count for key, count in attempts.tries.items()}
    return RunHistory(
        merged=ended[Status.MERGED],
        refused=ended[Status.REFUSED],
        reverted=ended[Status.REVERTED],
        running=attempts.running | being_reversed,
        open_runs=attempts.open_runs,
        attempts={version: count.attempts for version, count in tries.items()},
        busy={version: count.busy for version, count in tries.items()},
        backing_off={
            version
            for version, count in tries.items()
            if is_backing_off(count.last_busy, BACKOFF.delay(count.busy))
        },
    )
