"""Where Dagster keeps what sensors and schedules log, for their pages in the UI."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import DagsterInstance
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData


class SensorLogManager(LocalComputeLogManager):
    """Keeps what ticks log, where its instance keeps the rest, and lets alone what runs print.

    To capture that, Dagster starts four processes, which lose the last lines now and then. All that
    is to be told of a run is in its event log.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Where they are kept, the instance says."""
        return cls("", inst_data=inst_data)

    def register_instance(self, instance: DagsterInstance) -> None:
        """Keep them where Dagster does by default."""
        super().register_instance(instance)
        self._base_dir = instance.storage_directory()

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture nothing of a step."""
        yield CapturedLogContext(log_key)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:  # noqa: ARG002
        """Nothing more comes."""
        return True
