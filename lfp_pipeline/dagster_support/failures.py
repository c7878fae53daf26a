"""How runs fail: plainly; and what they did not come to try is no failed attempt."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import dagster as dg

from lfp_pipeline.errors import LfpError, WarehouseBusyError, hint_for, user_message

BUSY_TAG = "lfp/database_busy"
NOT_TRIED_TAG = "lfp/not_tried"


@contextmanager
def user_facing_failures(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Make an error that people can do something about the failure of the run, as it is told them.

    Where the warehouse was busy, let the sensor know that it was that.
    """
    try:
        yield
    except dg.Failure:  # It is told already.
        raise
    except Exception as error:
        if isinstance(error, WarehouseBusyError):
            tag_database_busy(context)
        if isinstance(error, LfpError) or hint_for(error):
            raise dg.Failure(user_message(error), allow_retries=False) from None
        raise


def tag_database_busy(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
    """Note that the run in hand could not have the database."""
    context.instance.add_run_tags(context.run.run_id, {BUSY_TAG: "true"})


def tag_not_tried(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, keys: Collection[str]
) -> None:
    """Note which of its partitions the run in hand leaves alone: their files are being written."""
    if keys:
        context.instance.add_run_tags(context.run.run_id, {NOT_TRIED_TAG: ",".join(sorted(keys))})
