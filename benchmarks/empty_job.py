"""A Dagster job that does nothing: the cost of Dagster alone."""

import dagster as dg


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def empty() -> None:
    """Do nothing, in one step."""
    nothing()
