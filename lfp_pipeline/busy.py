"""Runs that failed only because the database was in other hands: they are no failed attempts."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lfp_pipeline.errors import WarehouseBusyError

BUSY_TAG = "lfp/database_busy"


@contextmanager
def failing_as_busy(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Make a busy warehouse the failure of the run, and let the sensor know that it was that."""
    try:
        yield
    except WarehouseBusyError as error:
        note_busy(context)
        raise dg.Failure(str(error), allow_retries=False) from None


def note_busy(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    """Note that the run in hand could not have the database."""
    context.instance.add_run_tags(context.run.run_id, {BUSY_TAG: "true"})
