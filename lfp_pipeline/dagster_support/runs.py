"""What the sensors share: the tags and files of runs, and the end of runs that were killed."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from lfp_pipeline.common.process_marks import claim_stale_marks
from lfp_pipeline.engine import Engine

_CLAIMED_WITHIN_SECONDS = 30 * 86_400
"""An instance that has not looked after its runs for longer is gone, and its marks may go, too."""

_RUNS_LOOKED_AT = 10

SENSOR_TAG = "lfp/sensor"
PARTITION_TAG = "dagster/partition"
VERSION_TAG = "lfp/version"
MAX_RETRIES_TAG = "dagster/max_retries"


def requested_files(run: dg.DagsterRun) -> Mapping[str, str]:
    """The partitions that a run was asked for, with the versions, where those were named.

    Nothing where it was asked for all that is pending, or in a way of somebody's own.
    """
    if partition := run.tags.get(PARTITION_TAG):
        return {partition: run.tags.get(VERSION_TAG, "")}
    config: Any = run.run_config
    for name in ("ops", "ingest", "config", "files"):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def started_runs(instance: dg.DagsterInstance, tag: str, value: str) -> list[dg.RunRecord]:
    """Return the latest runs with a tag, the newest first, without those that never started.

    A run that Dagster failed to launch is launched when it is requested again by its run key.
    """
    runs = instance.get_run_records(dg.RunsFilter(tags={tag: value}), limit=_RUNS_LOOKED_AT)
    return [run for run in runs if run.dagster_run.status is not dg.DagsterRunStatus.NOT_STARTED]


def run_key_after(name: str, runs: Sequence[dg.RunRecord]) -> str:
    """Return the key of a run that is requested once after the newest one of some runs."""
    return f"{name}-{runs[0].dagster_run.run_id if runs else 'first'}"


def fail_dead_runs(engine: Engine, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """End the runs whose processes were killed. Else they would count as running for ever.

    A run that this instance does not know is left to its own: several may work on a data folder.
    """

    def is_ours(mark: Path) -> bool:
        return instance.has_run(mark.stem) or _is_unclaimed(mark)

    for mark in claim_stale_marks(engine.settings.run_marks_dir, "*.run", wanted=is_ours):
        run = instance.get_run_by_id(mark.stem)
        if run is not None and not run.is_finished:
            log.warning("The process of run %s is gone; the run has failed.", run.run_id)
            instance.report_run_failed(run, "The process of this run is gone: it was killed.")


def _is_unclaimed(mark: Path) -> bool:
    return time.time() - mark.stat().st_mtime > _CLAIMED_WITHIN_SECONDS
