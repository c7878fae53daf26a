"""Dagster's entry: reads the settings, then lists the definitions."""

import atexit
import gc
import os
import warnings
from datetime import timedelta

import click
import dagster as dg

from lfp_pipeline.dagster_support.console import (
    short_console,
    shorten_config_errors,
    use_short_console,
)
from lfp_pipeline.dagster_support.resources import database_of, engine_of
from lfp_pipeline.defs.assets import name_counts, products, raw_products, table_checks
from lfp_pipeline.defs.jobs import ingest_inbox, ingest_products, publish_tables, status
from lfp_pipeline.defs.operator_jobs import operator_jobs
from lfp_pipeline.defs.schedules import maintain_schedule, verify_schedule
from lfp_pipeline.defs.sensors.failure_sensor import build_failure_sensor
from lfp_pipeline.defs.sensors.feed_sensor import build_feed_sensor
from lfp_pipeline.defs.sensors.inbox_sensor import build_file_drop_sensor
from lfp_pipeline.defs.sensors.publish_sensor import build_publish_sensor
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.settings import Settings, load_settings

# Dagster rebuilds a sensor that starts an asset job, and warns of a parameter that is not ours.
warnings.filterwarnings("ignore", "Parameter `owners`.*SensorDefinition", dg.BetaWarning)


@dg.definitions
def definitions() -> dg.Definitions:
    """Return the definitions of the code location, with the settings of this process."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None  # Without a traceback.
    if not settings.data_dir.exists():  # An existing one without an inbox is an error, later.
        settings.inbox_dir.mkdir(parents=True, exist_ok=True)  # Another process may do so, too.
    tune_garbage_collection()
    use_short_console()
    shorten_config_errors()
    atexit.register(_discard_standard_error)
    fresh = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=settings.freshness_hours))
    return dg.Definitions(
        assets=dg.map_asset_specs(
            lambda spec: spec.replace_attributes(freshness_policy=fresh),
            [raw_products, products, name_counts],
        ),
        asset_checks=[table_checks],
        jobs=[ingest_inbox, ingest_products, publish_tables, status, *operator_jobs],
        schedules=[verify_schedule] + [maintain_schedule] * (settings.catalog is not None),
        sensors=_sensors(settings),
        executor=dg.in_process_executor,
        loggers={"console": short_console},
        resources={
            "engine": engine_of(settings),
            "database": database_of(settings),
        },
    )


def tune_garbage_collection() -> None:
    """Collect garbage less often, and skip the objects that are loaded now, because they stay.

    By default, Python collects after each 700 new objects. A listing has tens of thousands.
    """
    gc.freeze()
    gc.set_threshold(10_000)


def _discard_standard_error() -> None:
    """Discard what the interpreter prints at its end: DuckDB lists its uncollected objects.

    Collecting these objects would take half a second of CPU.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _sensors(settings: Settings) -> list[dg.SensorDefinition]:
    interval = settings.sensor_interval_seconds
    sensors = [
        build_file_drop_sensor(interval),
        build_feed_sensor(interval),
        build_publish_sensor(interval),
    ]
    if settings.webhook_url is not None:
        sensors.append(build_failure_sensor(settings.webhook_url, interval))
    return sensors
