"""The sensor that takes in what is dropped into the inbox."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from lfp_pipeline.engine import Engine
from lfp_pipeline.jobs import ingest_inbox, ingest_products
from lfp_pipeline.landing.inbox import Listing, list_inbox
from lfp_pipeline.landing.partition_key import partition_key
from lfp_pipeline.landing.sources import utc_from_ns
from lfp_pipeline.partitions import product_files
from lfp_pipeline.sensors.decision import Batch, FileVersion, History, Limits, decide
from lfp_pipeline.warehouse.account import Status

NAME = "file_drop_sensor"
VERSION_TAG = "lfp/version"
SENSOR_TAG = "lfp/sensor"
MAX_RETRIES_TAG = "dagster/max_retries"

REMEMBERED_RUNS = 1_000

_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


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
    files = {file.name: file.version for file in batch.files}
    return dg.RunRequest(
        run_key=batch.run_key,
        job_name=ingest_inbox.name,
        run_config={"ops": {"ingest": {"config": {"files": files}}}},
        tags=tags | {"lfp/files": str(len(files))},
    )


def _history(listing: Listing, engine: Engine, instance: dg.DagsterInstance) -> History:
    """What the raw zone and the runs of this sensor tell of the files that are there."""
    outcomes = {
        (file.partition_key, file.version): engine.raw_zone.outcome(
            file.partition_key, utc_from_ns(file.mtime_ns), file.size_bytes
        )
        for file in listing.ready
    }
    running: set[FileVersion] = set()
    attempts: Counter[FileVersion] = Counter()
    if any(outcome is None for outcome in outcomes.values()):
        runs = instance.get_runs(
            filters=dg.RunsFilter(tags={SENSOR_TAG: NAME}), limit=REMEMBERED_RUNS
        )
        for run in runs:
            if run.status in _ENDED:
                attempts.update(_versions(run))
            else:
                running.update(_versions(run))
    return History(
        merged={version for version, told in outcomes.items() if told == Status.MERGED},
        refused={version for version, told in outcomes.items() if told == Status.REFUSED},
        running=running,
        attempts=attempts,
    )


def _versions(run: dg.DagsterRun) -> Iterator[FileVersion]:
    """The versions of files that a run was asked for.

    None where somebody has launched a run of ours again with a configuration of their own.
    """
    if VERSION_TAG in run.tags:
        yield run.tags.get("dagster/partition", ""), run.tags[VERSION_TAG]
        return
    config: Any = run.run_config
    for name in ("ops", "ingest", "config", "files"):
        config = config.get(name) or {}
    yield from ((partition_key(name), version) for name, version in config.items())
