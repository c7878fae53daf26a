"""Runs as the sensors see them: tags, requested files, and runs whose process was killed."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from lfp_pipeline.common.text import preview, printable, shortened
from lfp_pipeline.engine import Engine
from lfp_pipeline.hosts.liveness import Kind, Mark
from lfp_pipeline.hosts.members import LOST_SHOWN_SECONDS

_CLAIMED_WITHIN_SECONDS = 30 * 86_400
"""A mark that no instance claims for longer belongs to a deleted instance, and is removed."""

_RUNS_LOOKED_AT = 10

_CELERY_TAG = "dagster-celery/task_id"
"""Tag of a run whose message was sent to the workers."""

SENSOR_TAG = "lfp/sensor"
PARTITION_TAG = "dagster/partition"
RANGE_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
VERSION_TAG = "lfp/version"
FILES_TAG = "lfp/files"
"""The names of a run's files, for people: the list of runs shows all tags of this kind."""

_TAG_CHARACTERS = 28
"""Length of a tag that the list of runs does not cut off in a window of 1,440 pixels."""

MAX_RETRIES_TAG = "dagster/max_retries"

NOT_TRIED_TAG = "lfp/not_tried"
"""Tag of a run: the partitions that it has not tried to ingest."""

_WITH_A_MARK = (
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def files_tag(names: Collection[str]) -> dict[str, str]:
    """Return the tag with the names of a run's files: `a.csv, b.csv and 3 more`.

    A list that is too long has the first name only, and that is shortened.
    """
    several = list(names)
    if not several:
        return {}
    for number in range(len(several), 1, -1):
        if len(text := preview(several, limit=number)) <= _TAG_CHARACTERS:
            return {FILES_TAG: text}
    remaining = preview([""] * len(several), limit=1)
    first = shortened(printable(several[0]), max(_TAG_CHARACTERS - len(remaining), 1))
    return {FILES_TAG: preview([first, *several[1:]], limit=1)}


def requested_files(run: dg.DagsterRun) -> Mapping[str, str]:
    """Return the partitions that a run was requested for, with their versions as far as known.

    Empty for a run of all pending files, and for a configuration of another form.
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


def failed_run_of(instance: dg.DagsterInstance, key: str, at: datetime) -> dg.DagsterRun | None:
    """Return a failed run of a partition, or of all files, that was in progress at a time."""
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], created_before=at, updated_after=at
    )
    for run in instance.get_runs(failed, limit=_RUNS_LOOKED_AT):
        files = requested_files(run)
        if key in files or (not files and run.job_name == "ingest_inbox"):
            return run
    return None


def run_key_after(name: str, runs: Sequence[dg.RunRecord]) -> str:
    """Return the key of a run that is requested once after the newest one of some runs."""
    return f"{name}-{runs[0].dagster_run.run_id if runs else 'first'}"


def mark_text(run: dg.DagsterRun) -> str:
    """Return the text of the mark of a run: its job, and its partition or files if it has any."""
    files = run.tags.get(PARTITION_TAG) or run.tags.get(FILES_TAG, "")
    return f"{run.job_name} {files}".strip()


def fail_dead_runs(engine: Engine, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """Report runs whose process was killed as failed; Dagster would show them as running forever.

    Runs of other instances are skipped: several instances may use one data folder. Of several
    hosts, runs fail that no process has begun in time: their worker or their message was lost.
    """

    def is_ours(mark: Mark) -> bool:
        seconds = time.time() - mark.since_ns / 1e9
        return instance.has_run(mark.name) or seconds > _CLAIMED_WITHIN_SECONDS

    if engine.settings.catalog is not None:
        engine.liveness.expect(Kind.RUN, _runs_with_a_process(instance))
        for _ in engine.liveness.claim_dead(
            Kind.HOST, lambda mark: mark.seconds > LOST_SHOWN_SECONDS
        ):
            pass  # Claiming removes the mark.
    for mark in engine.liveness.claim_dead(Kind.RUN, wanted=is_ours):
        run = instance.get_run_by_id(mark.name)
        if run is None or run.is_finished:
            continue
        if engine.settings.catalog is not None and not mark.host:
            log.warning("No worker has begun run %s; the run has failed.", run.run_id)
            # It is no attempt to ingest its files.
            keys = ",".join(sorted(requested_files(run)))
            instance.add_run_tags(run.run_id, {NOT_TRIED_TAG: keys} if keys else {})
            reason = "No worker has begun this run: the worker, or the message to it, was lost."
        else:
            log.warning("The process of run %s is gone; the run has failed.", run.run_id)
            reason = "The process of this run is gone: it was killed."
            if mark.host:
                reason = f"{reason[:-1]}, or its host {mark.host} is gone or cut off."
        if run.status is dg.DagsterRunStatus.CANCELING:  # Dagster would retry a failed run.
            instance.report_run_canceled(run, reason)
        else:
            instance.report_run_failed(run, reason)


def _runs_with_a_process(instance: dg.DagsterInstance) -> list[str]:
    """Return the ids of the runs that a process executes, or should begin now."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(_WITH_A_MARK)))
    return [
        run.run_id
        for run in runs
        # Kubernetes may need minutes for a new machine, and reports what does not start.
        if run.status is not dg.DagsterRunStatus.STARTING or _CELERY_TAG in run.tags
    ]
