"""The sensor that takes in what is dropped into the inbox."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf

import dagster as dg
from dagster import RunRecord

from lfp_pipeline.busy import BUSY_TAG
from lfp_pipeline.engine import Engine
from lfp_pipeline.jobs import ingest_inbox, ingest_products
from lfp_pipeline.landing.inbox import Listing, list_inbox
from lfp_pipeline.partitions import product_files
from lfp_pipeline.sensors.decision import Batch, FileVersion, History, Limits, decide
from lfp_pipeline.sensors.runs import (
    MAX_RETRIES_TAG,
    SENSOR_TAG,
    VERSION_TAG,
    fail_dead_runs,
    files_of,
)
from lfp_pipeline.warehouse.account import Status

NAME = "file_drop_sensor"
REST_SECONDS = 30.0
LONGEST_REST_SECONDS = 600.0


def build_file_drop_sensor(interval_seconds: int) -> dg.SensorDefinition:
    """The sensor, looking that often."""

    @dg.sensor(
        name=NAME,
        jobs=[ingest_products, ingest_inbox],
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes in files that are dropped into the inbox, and new versions of them.",
    )
    def file_drop_sensor(
        context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> dg.SensorResult:
        settings = engine.settings
        fail_dead_runs(engine, context.instance, context.log)
        listing = list_inbox(settings.inbox_dir, quiet_seconds=settings.inbox_quiet_seconds)
        history = _history(listing, engine, context.instance)
        limits = Limits(
            settings.sensor_max_attempts, settings.sensor_batch_bytes, settings.sensor_batch_files
        )
        decision = decide(listing, history, limits)
        if not decision.batches:
            return dg.SensorResult(skip_reason=decision.summary)
        context.log.info(decision.summary)
        keys = [file.partition_key for batch in decision.batches for file in batch.files]
        return dg.SensorResult(
            run_requests=[_run_request(batch) for batch in decision.batches],
            dynamic_partitions_requests=[product_files.build_add_request(keys)],
        )

    return file_drop_sensor


def _run_request(batch: Batch) -> dg.RunRequest:
    """A lone file is a partition of the assets; several share a run of the inbox's job."""
    tags = {
        SENSOR_TAG: NAME,
        "lfp/attempt": str(max(batch.attempts)),
        MAX_RETRIES_TAG: "0",  # The next attempt is this sensor's business, whatever went wrong.
    }
    if len(batch.files) == 1:
        file = batch.files[0]
        return dg.RunRequest(
            run_key=batch.run_key,
            job_name=ingest_products.name,
            partition_key=file.partition_key,
            tags=tags | {VERSION_TAG: file.version},
        )
    files = {file.partition_key: file.version for file in batch.files}
    return dg.RunRequest(
        run_key=batch.run_key,
        job_name=ingest_inbox.name,
        run_config={"ops": {"ingest": {"config": {"files": files}}}},
        tags=tags | {"lfp/files": str(len(files))},
    )


def _history(listing: Listing, engine: Engine, instance: dg.DagsterInstance) -> History:
    """What the raw zone and the runs of this sensor tell of the files that are there."""
    outcomes = {
        (file.partition_key, file.version): outcome
        for file, outcome in zip(listing.ready, engine.outcomes(listing.ready), strict=True)
    }
    dropped_at = {
        (file.partition_key, file.version): file.ctime_ns / 1e9
        for file in listing.ready
        if outcomes[file.partition_key, file.version] is None
    }
    running: set[FileVersion] = set()
    attempts: Counter[FileVersion] = Counter()
    busy: Counter[FileVersion] = Counter()
    last_busy: dict[FileVersion, float] = {}
    for record in _runs_since(min(dropped_at.values(), default=None), instance):
        versions = set(files_of(record.dagster_run).items())
        if not record.dagster_run.is_finished:
            running |= versions
        # What was tried before the file was dropped anew does not count.
        created_at = record.create_timestamp.timestamp()
        counted = {version for version in versions if created_at > dropped_at.get(version, inf)}
        attempts.update(counted)
        if BUSY_TAG in record.dagster_run.tags:
            busy.update(counted)
            for version in counted:
                last_busy[version] = max(created_at, last_busy.get(version, 0))
    return History(
        merged={version for version, told in outcomes.items() if told is Status.MERGED},
        refused={version for version, told in outcomes.items() if told is Status.REFUSED},
        reverted={version for version, told in outcomes.items() if told is Status.REVERTED},
        running=running,
        attempts=attempts,
        busy=busy,
        resting={
            version
            for version, created_at in last_busy.items()
            # Not where the clock has stepped back since: it would rest for as long as that.
            if 0
            <= time.time() - created_at
            < min(busy[version] * REST_SECONDS, LONGEST_REST_SECONDS)
        },
    )


def _runs_since(seconds: float | None, instance: dg.DagsterInstance) -> Sequence[RunRecord]:
    if seconds is None:
        return []
    filters = dg.RunsFilter(
        tags={SENSOR_TAG: NAME}, created_after=datetime.fromtimestamp(seconds, UTC)
    )
    return instance.get_run_records(filters)
