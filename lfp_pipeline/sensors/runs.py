"""What the sensors share: the tags and files of runs, and the end of runs that were killed."""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from lfp_pipeline.engine import Engine
from lfp_pipeline.holds import abandoned

SENSOR_TAG = "lfp/sensor"
PARTITION_TAG = "dagster/partition"
VERSION_TAG = "lfp/version"
MAX_RETRIES_TAG = "dagster/max_retries"


def files_of(run: dg.DagsterRun) -> Mapping[str, str]:
    """The partitions that a run was asked for, with the versions, where those were named.

    Nothing where it was asked for all that is pending, or in a way of somebody's own.
    """
    if partition := run.tags.get(PARTITION_TAG):
        return {partition: run.tags.get(VERSION_TAG, "")}
    config: Any = run.run_config
    for name in ("ops", "ingest", "config", "files"):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def fail_dead_runs(engine: Engine, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """End the runs whose processes were killed. Else they would count as running for ever."""
    for mark in abandoned(engine.settings.run_marks_dir, "*.run"):
        run = instance.get_run_by_id(mark.stem)
        if run is not None and not run.is_finished:
            log.warning("The process of run %s is gone; the run has failed.", run.run_id)
            instance.report_run_failed(run, "The process of this run is gone: it was killed.")
