"""The sensor that publishes changes which runs deferred."""

import dagster as dg

from lfp_pipeline.dagster_support.runs import (
    MAX_RETRIES_TAG,
    SENSOR_TAG,
    fail_dead_runs,
    run_key_after,
    started_runs,
)
from lfp_pipeline.defs.jobs import publish_tables
from lfp_pipeline.engine import Engine

NAME = "publish_sensor"

_RUN_SECONDS = 2.0
"""The duration of an empty Dagster run."""


def build_publish_sensor(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor, with its minimum interval."""

    @dg.sensor(
        name=NAME,
        job=publish_tables,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes changes that a run deferred.",
    )
    def publish_sensor(
        context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> dg.RunRequest | dg.SkipReason:
        if not engine.published.is_stale:
            return dg.SkipReason(f"{engine.published.source.capitalize()} is up to date.")
        if not engine.published.is_within_budget(_RUN_SECONDS):
            return dg.SkipReason("The tables are newer than the published copy; not due yet.")
        fail_dead_runs(engine, context.instance, context.log)
        runs = started_runs(context.instance, SENSOR_TAG, NAME)
        if runs and not runs[0].dagster_run.is_finished:
            return dg.SkipReason(f"Run {runs[0].dagster_run.run_id} is publishing.")
        return dg.RunRequest(
            run_key=run_key_after("publish", runs),
            job_name=publish_tables.name,
            # This sensor makes the next attempt, whatever the failure.
            tags={SENSOR_TAG: NAME, MAX_RETRIES_TAG: "0"},
        )

    return publish_sensor
