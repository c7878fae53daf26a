"""The former name of `SensorLogManager`: a dagster.yaml of version 0.1 has it."""

from lfp_pipeline.dagster_support.compute_logs import SensorLogManager as TickLogs

__all__ = ["TickLogs"]
