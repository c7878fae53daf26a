"""Removes the bytes of old deliveries that the tables no longer need (job `prune_raw`).

The tables need a delivery if it holds the present row of a product. Deletions are always kept:
they are small, and keep older rows hidden. Pending deliveries are kept, too.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import format_size, pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, Kind, labels
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations import Report
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from lfp_pipeline.warehouse.invariants import needed_deliveries
from lfp_pipeline.warehouse.ledger import record_operation, statuses

_SHOWN = 20


@dataclass(frozen=True)
class _Plan:
    """The deliveries to prune, and the ids of those that the tables need.

    Attributes:
        kept: number of old deliveries that are kept because the tables need them.
    """

    chosen: Sequence[Delivery]
    needed: frozenset[str]
    kept: int

    def report(self, *, dry_run: bool) -> Report:
        """Return what is pruned, kept and lost."""
        size = sum(delivery.size_bytes for delivery in self.chosen)
        number = pluralize(len(self.chosen), "delivery")
        summary = f"{'Would prune' if dry_run else 'Pruned'} {number}"
        if self.chosen:
            names = {
                delivery.delivery_id: file_name(delivery.partition_key, delivery.source)
                for delivery in self.chosen
            }
            shown = preview(list(labels(names).values()), limit=_SHOWN)
            summary += f" of {format_size(size)}: {shown}"
        summary += f". Kept, because the tables need them: {self.kept:,}."
        if lost := self.needed & {delivery.delivery_id for delivery in self.chosen}:
            summary += f" A rebuild then loses rows of {pluralize(len(lost), 'delivery')}."
        figures = {"deliveries": len(self.chosen), "size_bytes": size, "kept": self.kept}
        return Report(summary, figures)


def prune_raw(
    engine: Engine,
    older_than_days: float,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    include_needed: bool = False,
) -> Report:
    """Remove the bytes of deliveries that landed before a given time; their records stay.

    A process that is killed meanwhile leaves some of the deliveries pruned.

    Args:
        older_than_days: minimum time since the landing.
        include_needed: also prune deliveries that a rebuild of the present tables needs.

    Raises:
        LfpError: a reversal is pending, or the database or the raw zone cannot be read.
    """
    started = utc_now()
    landed_before = started - timedelta(days=older_than_days)
    # Planned and applied under one lock: no delivery becomes needed in between.
    with engine.warehouse.session("pruning the raw zone", log) as connection:
        plan = _plan(engine, connection, landed_before, include_needed=include_needed)
        report = plan.report(dry_run=dry_run)
        if not dry_run:
            _apply(plan, engine.raw_zone.desired, log)
            record_operation(connection, "prune_raw", started, report.summary)
    return report


def _plan(
    engine: Engine,
    connection: duckdb.DuckDBPyConnection,
    landed_before: datetime,
    *,
    include_needed: bool,
) -> _Plan:
    needed = needed_deliveries(connection)
    status_of = statuses(connection)
    zone = engine.raw_zone.as_of_now()
    deliveries, desired = zone.all_deliveries(), zone.desired
    _require_no_pending_reversal(deliveries, status_of, desired)
    old = [
        delivery
        for delivery in deliveries
        if delivery.landed_at < landed_before
        and delivery.kind is Kind.PRODUCTS
        and (state := desired.state_of(delivery, status_of.get(delivery.delivery_id))).bytes_kept
        and state.is_reconciled
    ]
    chosen = [delivery for delivery in old if include_needed or delivery.delivery_id not in needed]
    return _Plan(chosen, needed, kept=len(old) - len(chosen))


def _require_no_pending_reversal(
    deliveries: Sequence[Delivery], status_of: Mapping[str, Status], desired: DesiredStates
) -> None:
    """Raise if a reversal is pending, because it may need any older delivery."""
    pending = [
        delivery.label
        for delivery in deliveries
        if desired.state_of(delivery, status_of.get(delivery.delivery_id)).awaits_reversal
    ]
    if pending:
        msg = (
            f"The reversal of {pending[0]} is pending, and may need deliveries to prune. Nothing "
            "was pruned. Run `lfp ingest` first."
        )
        raise OperationRefusedError(msg)


def _apply(plan: _Plan, desired: DesiredStates, log: logging.Logger) -> None:
    for delivery in plan.chosen:
        log.info("Pruning %s", delivery.label)
        desired.prune(delivery.raw_name, needed=delivery.delivery_id in plan.needed)
