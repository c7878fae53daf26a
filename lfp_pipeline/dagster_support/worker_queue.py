"""The queue between the head and the workers: Dagster's own queue, then a message in Redis.

Runs wait in Dagster's queue, which is in PostgreSQL, until a worker has a free slot. So Redis holds
only runs that can begin at once, and little is lost with it.
"""

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from kombu.exceptions import OperationalError

from lfp_pipeline.dagster_support.celery_app import QUEUE, celery_app
from lfp_pipeline.hosts.broker import broker_place
from lfp_pipeline.hosts.liveness import liveness_of
from lfp_pipeline.hosts.members import slots
from lfp_pipeline.settings import load_settings

_RETRY_SECONDS = 10
_RETRIES = 100_000
"""More than ten days of a broker that is down."""

_NOT_ALL_SLOTS = ("lfp/sensor", "feed_sensor"), ("dagster/backfill", None)
"""Tags of runs that leave a slot to others: a slow server must not hold up the inbox."""


class WorkerRunLauncher(CeleryRunLauncher):
    """Sends a run to the workers, by the broker of the settings of this process."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._settings = load_settings()
        super().__init__(default_queue=QUEUE, inst_data=inst_data)
        self.celery = celery_app(self._settings)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return an empty schema: there is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Return the launcher."""
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the message of a run; the run stays in the queue while the broker is down."""
        try:
            super().launch_run(context)
        except (OperationalError, OSError):
            msg = f"The broker at {broker_place(self._settings)} cannot be reached."
            raise DagsterUserCodeUnreachableError(msg) from None

    def terminate(self, run_id: str) -> bool:
        """Let the process of a run end itself; return whether the run was in progress."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:  # noqa: ARG002
        """Return that a run is in progress: the marks of the runs show which ones are not."""
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def get_run_worker_debug_info(
        self,
        run: dg.DagsterRun,
        include_container_logs: bool | None = True,
    ) -> None:
        """Return nothing: the event log has all there is."""


class WorkerQueue(QueuedRunCoordinator):
    """Dagster's queue, whose limit is the number of the slots of the living workers."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Return the queue."""
        return cls(
            **config_value,
            max_user_code_failure_retries=_RETRIES,
            user_code_failure_retry_delay=_RETRY_SECONDS,
            inst_data=inst_data,
        )

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the schema: how often the queue is looked at."""
        return {"dequeue_interval_seconds": int}

    def get_run_queue_config(self) -> RunQueueConfig:
        """Return the limits of this moment."""
        settings = load_settings()
        limit = slots(liveness_of(settings), settings.max_workers)
        limits = [
            {"key": key, "limit": max(limit - 1, 1)} | ({"value": value} if value else {})
            for key, value in _NOT_ALL_SLOTS
        ]
        config = super().get_run_queue_config()
        return config._replace(max_concurrent_runs=limit, tag_concurrency_limits=limits)
