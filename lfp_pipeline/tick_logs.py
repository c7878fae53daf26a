"""The former module of `SensorLogManager`, which a `dagster.yaml` of version 0.1 names."""

from lfp_pipeline.dagster_support.compute_logs import SensorLogManager as TickLogs

__all__ = ["TickLogs"]
