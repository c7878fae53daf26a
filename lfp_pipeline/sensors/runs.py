"""What the sensors share: the tags of their runs, and the end of runs that were killed."""

import logging

import dagster as dg

from lfp_pipeline.engine import Engine
from lfp_pipeline.holds import abandoned

SENSOR_TAG = "lfp/sensor"
MAX_RETRIES_TAG = "dagster/max_retries"


def fail_dead_runs(engine: Engine, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """End the runs whose processes were killed. Else they would count as running for ever."""
    for mark in abandoned(engine.settings.run_marks_dir, "*.run"):
        run = instance.get_run_by_id(mark.stem)
        if run is not None and not run.is_finished:
            log.warning("The process of run %s is gone; the run has failed.", run.run_id)
            instance.report_run_failed(run, "The process of this run is gone: it was killed.")
