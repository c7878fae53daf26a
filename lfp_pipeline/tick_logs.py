"""The former place of `SensorLogManager`: a dagster.yaml of version 0.1 names it."""

from lfp_pipeline.dagster_support.compute_logs import TickLogs

__all__ = ["TickLogs"]
