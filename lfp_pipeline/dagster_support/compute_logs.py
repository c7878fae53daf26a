"""The compute log manager of `dagster.yaml`: logs of ticks only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import DagsterInstance
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData


class SensorLogManager(LocalComputeLogManager):
    """Keeps the logs of sensor and schedule ticks, and does not capture the output of runs.

    To capture output, Dagster starts four processes per run, which sometimes lose the last lines.
    The event log of a run has everything.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return an empty schema: there is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Return a manager; `register_instance` sets its folder."""
        return cls("", inst_data=inst_data)

    def register_instance(self, instance: DagsterInstance) -> None:
        """Use the folder that Dagster uses by default."""
        super().register_instance(instance)
        self._base_dir = instance.storage_directory()

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Yield without capturing the output of a step."""
        yield CapturedLogContext(log_key)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:  # noqa: ARG002
        """Return True: no output is captured."""
        return True
