"""`prune_raw`: the bytes of old deliveries that the tables no longer need are removed.

The tables need a delivery if it holds the present row of a product. A deletion is always kept: it
is small, and keeps older rows from coming back. So is what has not come to an end.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import format_size, pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.report import Report
from lfp_pipeline.raw_zone.desired_state import is_reverted, prune, state_of
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import statuses
from lfp_pipeline.warehouse.operation_log import record_operation

_SHOWN = 20


def prune_raw(
    engine: Engine,
    older_than_days: float,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    even_if_needed: bool = False,
) -> Report:
    """Remove the bytes of deliveries that landed so long ago; their records stay.

    Args:
        engine: whose.
        older_than_days: how long ago, at least.
        log: for progress.
        dry_run: only tell what it would do.
        even_if_needed: also of those that a rebuild of the present tables needs.

    Raises:
        LfpError: a reversal is pending, or the database or the raw zone cannot be read. Killed in
            the middle, some are gone.
    """
    started = utc_now()
    with engine.warehouse.session("pruning the raw zone", log) as connection:
        needed = needed_deliveries(connection)
        landed_before = started - timedelta(days=older_than_days)
        status_of = statuses(connection)
        deliveries = engine.raw_zone.all_deliveries()
        _see_that_no_reversal_is_pending(deliveries, status_of)
        state = {one: state_of(one, status_of.get(one.delivery_id)) for one in deliveries}
        old = [
            one
            for one in deliveries
            if one.landed_at < landed_before
            and one.kind is Kind.PRODUCTS
            and state[one].bytes_kept
            and state[one].is_reconciled
        ]
        chosen = [one for one in old if even_if_needed or one.delivery_id not in needed]
        lost = [one for one in chosen if one.delivery_id in needed]
        report = _report(chosen, len(old) - len(chosen), lost, dry_run=dry_run)
        if not dry_run:
            for delivery in chosen:
                log.info("Pruning %s", delivery.delivery_id)
                prune(delivery.path, needed=delivery.delivery_id in needed)
            record_operation(connection, "prune_raw", started, report.summary)
    return report


def _see_that_no_reversal_is_pending(
    deliveries: Sequence[Delivery], status_of: Mapping[str, Status]
) -> None:
    """What is still to be taken out may need any older delivery."""
    pending = [
        one.delivery_id
        for one in deliveries
        if is_reverted(one.path) and not state_of(one, status_of.get(one.delivery_id)).is_reconciled
    ]
    if pending:
        msg = (
            f"{pending[0]} is reverted and not out yet, and may need what would be pruned. Run "
            "ingest_inbox first, which carries that out."
        )
        raise OperationRefusedError(msg)


def _report(
    chosen: Sequence[Delivery], kept: int, lost: Sequence[Delivery], *, dry_run: bool
) -> Report:
    size = sum(one.size_bytes for one in chosen)
    summary = f"{'Would prune' if dry_run else 'Pruned'} {pluralize(len(chosen), 'delivery')}"
    if chosen:
        named = preview([one.delivery_id for one in chosen], limit=_SHOWN)
        summary += f" of {format_size(size)}: {named}"
    summary += f". Kept of that age, because the tables need them: {kept:,}."
    if lost:
        verb = "would lose" if dry_run else "loses"
        summary += f" A rebuild {verb} rows of {pluralize(len(lost), 'delivery')}."
    return Report(summary, {"deliveries": len(chosen), "size_bytes": size, "kept": kept})
