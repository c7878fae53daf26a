"""What a reversal would lose, looked at before anybody notes that it is wanted."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.ingest.revert import Heirs, find_replacements, may_be_refused
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.desired_state import is_pruned, is_reverted
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.status_notes import last_recorded_status
from lfp_pipeline.reading.workspace import WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.invariants import needed_deliveries, product_count
from lfp_pipeline.warehouse.ledger import all_accounts
from lfp_pipeline.warehouse.reversal import ReversalPlan, outlook, plan_reversal


@dataclass(frozen=True)
class Foreseen:
    """How things stand before a reversal, and what it would do, as far as that was looked at.

    Attributes:
        before: what the delivery has won and deleted.
        products: how many there are.
        after: the same as `before` with what comes in its place; None: nobody looked for that.
        heirs: the older deliveries that this comes from, as far as it was looked for.
    """

    before: ReversalPlan
    products: int
    after: ReversalPlan | None = None
    heirs: Heirs = field(default_factory=Heirs)


@contextmanager
def checked_reversal(
    delivery: Delivery,
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    *,
    ignore_pruned_history: bool = False,
    use_present_settings: bool = False,
    foretell: bool = False,
) -> Iterator[Foreseen]:
    """Check a reversal, and hold the writer lock for the block: it is noted there that it is so.

    Args:
        delivery: what is to be reverted.
        settings: limits, rules.
        warehouse: that has it.
        log: for progress.
        ignore_pruned_history: revert even if older deliveries that may have replacements are
            pruned.
        use_present_settings: read older deliveries that were read with others with these settings.
        foretell: whether to look for what comes in its place in any case.

    Raises:
        OperationRefusedError: something would be lost, or an older delivery cannot be read as it
            was.
        LfpError: an older delivery cannot be read at all, or the warehouse cannot be had.
    """
    purpose = f"looking what the reversal of {delivery.delivery_id} would do"
    with (
        workspace_of(settings, WorkspaceLimits.of(settings)) as workspace,
        warehouse.attached(workspace.connection, purpose, log),
    ):
        connection, raw_zone = workspace.connection, RawZone(settings.raw_dir)
        older = plan_reversal(connection, delivery)
        before = outlook(connection, delivery)
        ids = [one.delivery_id for one in older]
        pruned = _pruned(connection, raw_zone, delivery, ids) if before.orphans else []
        if pruned and not ignore_pruned_history:
            msg = (
                f"{delivery.delivery_id} has won or deleted {pluralize(before.orphans, 'sku')}, "
                f"and older deliveries, which may have had them, are pruned: {preview(pruned)}. "
                "Land their files again; or say ignore_pruned_history, and what only they had is "
                "gone until they land again."
            )
            raise OperationRefusedError(msg)
        foreseen = Foreseen(before, product_count(connection))
        how = {"use_present_settings": use_present_settings}
        if foretell or may_be_refused(older, settings, **how):
            heirs = find_replacements(delivery, workspace, settings, log, **how)
            after = outlook(connection, delivery)
            foreseen = Foreseen(before, foreseen.products, after, heirs)
        yield foreseen


def _pruned(
    connection: duckdb.DuckDBPyConnection, raw_zone: RawZone, delivery: Delivery, older: list[str]
) -> list[str]:
    """Return the older deliveries whose bytes are gone, also those that this ledger lacks."""
    pruned = [delivery_id for delivery_id in older if not raw_zone.keeps(delivery_id)]
    if needed := needed_deliveries(connection).intersection(pruned):
        msg = (
            f"The bytes of {preview(sorted(needed))} are gone, and the tables need them. Put them "
            "back from a copy, or land their files again, first."
        )
        raise OperationRefusedError(msg)
    known = all_accounts(connection)
    # The ledger does not know them where the database was made anew since.
    return pruned + [
        one.delivery_id
        for one in raw_zone.all_deliveries()
        if one.order_key < delivery.order_key
        and one.delivery_id not in known
        and is_pruned(one.path)
        and not is_reverted(one.path)
        and last_recorded_status(one.path) != Status.REFUSED
    ]
