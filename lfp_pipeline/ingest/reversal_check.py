"""Check what a reversal would lose, before the delivery is marked as reverted."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.ingest.revert import Replacements, find_replacements, may_be_refused
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.workspace import WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.invariants import needed_deliveries, product_count
from lfp_pipeline.warehouse.ledger import all_entries
from lfp_pipeline.warehouse.reversal import (
    OlderDelivery,
    ReversalPlan,
    plan_reversal,
    planned_changes,
)


@dataclass(frozen=True)
class ReversalForecast:
    """What a reversal would do.

    Attributes:
        before: the products and deletions of the delivery.
        products: number of rows in `products`.
        after: the same as `before`, with the replacements from older deliveries; None: these were
            not looked for.
        replacements: the older deliveries that the replacements come from.
    """

    before: ReversalPlan
    products: int
    after: ReversalPlan | None
    replacements: Replacements


@contextmanager
def checked_reversal(
    delivery: Delivery,
    raw_zone: RawZone,
    settings: Settings,
    warehouse: Backend,
    log: logging.Logger,
    *,
    ignore_pruned_history: bool = False,
    use_present_settings: bool = False,
    with_replacements: bool = False,
) -> Iterator[ReversalForecast]:
    """Check a reversal, and hold the writer lock for the block, which marks the delivery.

    Args:
        ignore_pruned_history: allow the reversal although older deliveries, which may have had
            replacements, are pruned.
        use_present_settings: read older deliveries with these settings, even if they were read with
            other ones.
        with_replacements: look for the replacements in any case.

    Raises:
        OperationRefusedError: rows would be lost, or an older delivery cannot be read as it was
            read before.
        LfpError: an older delivery cannot be read at all, or the warehouse cannot be opened.
    """
    purpose = f"checking the reversal of {delivery.label}"
    with (
        workspace_of(
            settings, WorkspaceLimits.of(settings), warehouse, read_only=warehouse.is_read_only
        ) as workspace,
        warehouse.attached(workspace.connection, purpose, log),
    ):
        connection = workspace.connection
        older = plan_reversal(connection, delivery)
        before = planned_changes(connection, delivery)
        pruned = _pruned(connection, raw_zone, delivery, older) if before.skus else []
        if pruned and not ignore_pruned_history:
            msg = (
                f"{delivery.label} has won or deleted {pluralize(before.skus, 'sku')}, "
                f"and older deliveries, which may have had them, are pruned: {preview(pruned)}. "
                "Land their files again; or add --ignore-pruned-history, which loses what only "
                "they had until they land again."
            )
            raise OperationRefusedError(msg)
        products, after, replacements = product_count(connection), None, Replacements()
        how = {"use_present_settings": use_present_settings}
        if with_replacements or may_be_refused(older, settings, **how):
            replacements = find_replacements(delivery, raw_zone, workspace, settings, log, **how)
            after = planned_changes(connection, delivery)
        yield ReversalForecast(before, products, after, replacements)


def _pruned(
    connection: duckdb.DuckDBPyConnection,
    raw_zone: RawZone,
    delivery: Delivery,
    older: Sequence[OlderDelivery],
) -> list[str]:
    """Return the labels of older deliveries whose bytes are gone, in the ledger or not."""
    pruned = {
        each.delivery_id: each.label for each in older if not raw_zone.keeps(each.delivery_id)
    }
    if needed := needed_deliveries(connection).intersection(pruned):
        labels = [pruned[delivery_id] for delivery_id in sorted(needed)]
        msg = (
            f"The bytes of {preview(labels)} are gone, and the tables need them. First "
            "restore them from a copy, or land their files again."
        )
        raise OperationRefusedError(msg)
    entries = all_entries(connection)
    zone = raw_zone.as_of_now()
    # A ledger that was rebuilt since lacks deliveries that were pruned before.
    return [*pruned.values()] + [
        candidate.label
        for candidate in zone.all_deliveries()
        if candidate.order_key < delivery.order_key
        and candidate.delivery_id not in entries
        and not zone.desired.state_of(candidate, None).is_replayable
        and zone.notes.last_status(candidate.raw_name) != Status.REFUSED
    ]
