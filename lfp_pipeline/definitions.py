"""Everything put together, nothing else."""

import atexit
import gc
import os
import warnings
from datetime import timedelta

import click
import dagster as dg

from lfp_pipeline.assets import name_counts, products, raw_products
from lfp_pipeline.console import short_console
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.jobs import ingest_inbox, ingest_products, publish_tables, status
from lfp_pipeline.operator_jobs import operator_jobs
from lfp_pipeline.resources import ProductsDatabase, engine_of
from lfp_pipeline.schedules import verify_schedule
from lfp_pipeline.sensors.failures import build_failure_sensor
from lfp_pipeline.sensors.feeds import build_feed_sensor
from lfp_pipeline.sensors.file_drop import build_file_drop_sensor
from lfp_pipeline.sensors.publishing import build_publish_sensor
from lfp_pipeline.settings import Settings, load_settings

# Dagster rebuilds a sensor that starts an asset job, and then warns of a parameter we never gave.
warnings.filterwarnings("ignore", "Parameter `owners`.*SensorDefinition", dg.BetaWarning)


@dg.definitions
def definitions() -> dg.Definitions:
    """The code location, with the settings of this process."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None  # Without a traceback.
    if not settings.data_dir.exists():  # One that is there without an inbox is an error, later.
        settings.inbox_dir.mkdir(parents=True)
    tune_garbage_collection()
    fresh = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=settings.freshness_hours))
    return dg.Definitions(
        assets=dg.map_asset_specs(
            lambda spec: spec.replace_attributes(freshness_policy=fresh),
            [raw_products, products, name_counts],
        ),
        jobs=[ingest_inbox, ingest_products, publish_tables, status, *operator_jobs],
        schedules=[verify_schedule],
        sensors=_sensors(settings),
        executor=dg.in_process_executor,
        loggers={"console": short_console},
        resources={
            "engine": engine_of(settings),
            "database": ProductsDatabase(
                database=str(settings.database_path),
                connection_config=settings.duckdb_config,
                writer_wait_seconds=settings.writer_wait_seconds,
                foreign_wait_seconds=settings.foreign_wait_seconds,
            ),
        },
    )


def tune_garbage_collection() -> None:
    """Collect garbage less often, and leave out the objects that are loaded now: they stay.

    By default, Python collects after each 700 new objects. A listing has tens of thousands.
    """
    gc.freeze()
    gc.set_threshold(10_000)
    atexit.register(_discard_standard_error)


def _discard_standard_error() -> None:
    """Discard what the ending interpreter prints: DuckDB lists its uncollected objects.

    To collect these objects takes half a second of CPU.
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
