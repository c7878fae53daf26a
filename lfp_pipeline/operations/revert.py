"""Reverts a delivery, or reinstates a reverted one (job `revert_delivery`)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError, LfpError, OperationRefusedError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.ingest.reversal_check import ReversalForecast, checked_reversal
from lfp_pipeline.ingest.revert import earlier_settings, read_acceptably
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations import Figures, Report
from lfp_pipeline.raw_zone.byte_store import landing
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.options import Conditions, ReadOptions, Rereading, reread
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.ledger import clear_conditions, entry_of


def revert_delivery(
    engine: Engine,
    delivery_id: str,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    ignore_pruned_history: bool = False,
    use_present_settings: bool = False,
) -> Report:
    """Revert a delivery: older rows replace the rows it has won, and its deletions are undone.

    The older rows are those that were read of older deliveries when these were merged. If the
    process is killed after the delivery is marked, the next `lfp ingest` reverts it.

    Args:
        ignore_pruned_history: revert even if older deliveries that may have replacements are
            pruned.
        use_present_settings: read older deliveries with the present settings, whatever they were
            merged with, and correct their ledger entries.

    Raises:
        OperationRefusedError: something would be lost, or an older delivery cannot be read as it
            was. Nothing was changed.
        LfpError: the delivery is not reverted; the message says why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    with engine.backlog.being_reversed(delivery):
        with checked_reversal(
            delivery,
            engine.raw_zone,
            engine.settings,
            engine.warehouse,
            log,
            ignore_pruned_history=ignore_pruned_history,
            use_present_settings=use_present_settings,
            with_replacements=dry_run,
        ) as plan:
            if dry_run:
                return _planned_reversal(delivery, plan)
            # Still under the writer lock: no delivery that the plan needs is pruned in between.
            engine.raw_zone.desired.mark_reverted(
                delivery.raw_name, use_present_settings=use_present_settings
            )
        done = _apply(engine, delivery, Status.REVERTED, log)
    summary = (
        f"{delivery.label} is reverted. It had won {pluralize(plan.before.products, 'product')} "
        f"and deleted {pluralize(plan.before.deletions, 'sku')}. Products: {plan.products:,} -> "
        f"{done.products:,}. {done.account.error}"
    )
    figures: Figures = {
        "delivery_id": delivery_id,
        "products_before": plan.products,
        "products": done.products,
    }
    return Report(summary, figures, changed=[delivery])


def reinstate_delivery(
    engine: Engine,
    delivery_id: str,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    use_present_settings: bool = False,
) -> Report:
    """Merge a reverted delivery again, as if it had just arrived.

    The delivery is read with the settings that it was merged with, if the ledger has them. Of a
    merged delivery, the dismissal of its rejected rows is taken back.

    Args:
        use_present_settings: read the delivery with the present settings, whatever it was merged
            with.

    Raises:
        OperationRefusedError: the delivery cannot be reinstated, or would be refused. Nothing was
            changed.
        LfpError: the delivery is not merged; the message says why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    require_to_reinstate(engine.raw_zone, delivery)
    name, desired = delivery.raw_name, engine.raw_zone.desired
    if not desired.is_reverted(name):
        return _take_dismissal_back(engine, delivery, dry_run=dry_run)
    with engine.backlog.being_reversed(delivery):
        with _reinstatement(engine, delivery, log, present=use_present_settings) as (plan, space):
            if dry_run:
                return _planned_reinstatement(delivery, plan)
            # Still under the writer lock: the delivery is not pruned in between.
            if use_present_settings:
                clear_conditions(space.connection, delivery_id)
            engine.raw_zone.notes.delete(name)  # A process killed here has changed nothing.
            desired.clear_reverted(name)
        done = _apply(engine, delivery, Status.MERGED, log)
    if done.account.status is Status.REFUSED:  # Another process has read it with other settings.
        msg = f"{delivery.label} is no longer reverted, but was refused: {done.account.error}"
        raise LfpError(msg)
    summary = f"{delivery.label} is merged again. Products: {done.products:,}."
    if done.reading is not None:
        summary += _kept_settings(delivery, plan)
    figures: Figures = {"delivery_id": delivery_id, "products": done.products}
    return Report(summary, figures, changed=[delivery])


def require_not_reverted(raw_zone: RawZone, delivery: Delivery) -> None:
    """Raise an OperationRefusedError if a delivery is reverted, and the tables show that."""
    name = delivery.raw_name
    if raw_zone.desired.is_reverted(name) and raw_zone.notes.last_status(name) == Status.REVERTED:
        msg = f"{delivery.label} is reverted already. `lfp reinstate` merges it again."
        raise OperationRefusedError(msg)


def require_to_reinstate(raw_zone: RawZone, delivery: Delivery) -> None:
    """Raise an OperationRefusedError unless a delivery, or its rejected rows, can be reinstated."""
    name, desired = delivery.raw_name, raw_zone.desired
    if not desired.is_reverted(name):
        if desired.dismissed_rejects(name) is None:
            msg = f"{delivery.label} is not reverted: there is nothing to reinstate."
            raise OperationRefusedError(msg)
    elif desired.is_pruned(name):
        msg = (
            f"{delivery.label} is pruned: its bytes are gone. Land its file again, with "
            f"the time that it had, and then reinstate it: {landing(delivery)}"
        )
        raise OperationRefusedError(msg)


def _take_dismissal_back(engine: Engine, delivery: Delivery, *, dry_run: bool) -> Report:
    figures: Figures = {"delivery_id": delivery.delivery_id}
    what = f"The dismissal of the rejected rows of {delivery.label}"
    if dry_run:
        return Report(f"{what} would be taken back.", figures)
    engine.raw_zone.desired.clear_dismissed_rejects(delivery.raw_name)
    return Report(f"{what} is taken back.", figures, changed=[delivery])


@contextmanager
def _reinstatement(
    engine: Engine, delivery: Delivery, log: logging.Logger, *, present: bool
) -> Iterator[tuple[Rereading, Workspace]]:
    """Check a reinstatement; hold the writer lock, and yield how to read it, and a workspace."""
    limits, read_only = WorkspaceLimits.of(engine.settings), engine.warehouse.is_read_only
    with (
        workspace_of(engine.settings, limits, engine.warehouse, read_only=read_only) as workspace,
        engine.warehouse.attached(workspace.connection, "planning a reinstatement", log),
    ):
        # Another process may have reinstated or pruned it.
        require_to_reinstate(engine.raw_zone, delivery)
        yield _choose_settings(engine, delivery, workspace, log, present=present), workspace


def _choose_settings(
    engine: Engine, delivery: Delivery, workspace: Workspace, log: logging.Logger, *, present: bool
) -> Rereading:
    """Return the settings to read a reinstated delivery with: those of its merge, if known."""
    chosen = Rereading(engine.settings)
    entry = entry_of(workspace.connection, delivery)
    is_still_merged = entry is not None and entry.status is Status.MERGED
    if is_still_merged or delivery.kind is Kind.DELETION:
        return chosen  # Nothing is read.
    if entry is not None and entry.read_conditions is not None and not present:
        chosen = reread(entry.read_with, entry.read_conditions, None, engine.settings)
    if chosen.differences:
        msg = (
            f"{delivery.label} cannot be read as it was when it was merged: "
            f"{'; '.join(chosen.differences)}. Nothing was changed. Restore what has changed, or "
            "add --use-present-settings to read it with the present settings."
        )
        raise OperationRefusedError(msg)
    fingerprint = Conditions.of(ReadOptions.of(chosen.settings), delivery.text_format).digest
    if entry is None or entry.read_with != fingerprint:  # Otherwise it was accepted before.
        _require_accepted(engine.raw_zone, delivery, workspace, chosen.settings, log)
    return chosen


def _require_accepted(
    raw_zone: RawZone,
    delivery: Delivery,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
) -> None:
    try:
        with raw_zone.verified(delivery):
            read_acceptably(delivery, workspace, settings, log)
    except DeliveryRefusedError as error:
        msg = (
            f"{delivery.label} would be refused with these settings: {error} It remains "
            "reverted. Change the settings, or fix the file and drop it again."
        )
        raise OperationRefusedError(msg) from error


def _planned_reversal(delivery: Delivery, plan: ReversalForecast) -> Report:
    found = plan.after or plan.before
    summary = (
        f"{delivery.label} would be reverted. It has won {pluralize(found.products, 'product')} "
        f"and deleted {pluralize(found.deletions, 'sku')}. Older deliveries give rows for "
        f"{pluralize(found.replacements, 'product')}."
    )
    if plan.replacements.corrected:
        labels = preview(plan.replacements.corrected_labels)
        summary += f" Read again with the present settings: {labels}."
    if plan.replacements.as_then:
        summary += f" {plan.replacements.earlier_settings}"
    return Report(summary, {"delivery_id": delivery.delivery_id} | asdict(found))


def _planned_reinstatement(delivery: Delivery, plan: Rereading) -> Report:
    summary = f"{delivery.label} would be merged again, as if it had just arrived."
    summary += _kept_settings(delivery, plan)
    figures: Figures = {"delivery_id": delivery.delivery_id, "size_bytes": delivery.size_bytes}
    return Report(summary, figures)


def _kept_settings(delivery: Delivery, plan: Rereading) -> str:
    return f" {earlier_settings([delivery.label], plan.kept)}" if plan.kept else ""


def _apply(engine: Engine, delivery: Delivery, wanted: Status, log: logging.Logger) -> IngestResult:
    """Merge or revert a delivery whose desired state is marked.

    Raise an LfpError if that fails, or if another process has changed the desired state.
    """
    done = engine.ingest(delivery, log)
    status = done.account.status
    if status is Status.FAILED:
        msg = (
            f"{delivery.label} is to be {wanted}, and is not yet: {done.account.error} The "
            "next `lfp ingest` retries it; the opposite can be requested, too."
        )
        raise LfpError(msg)
    if (status is Status.REVERTED) != (wanted is Status.REVERTED):
        msg = f"The opposite was requested meanwhile: {delivery.label} is {status}."
        raise LfpError(msg)
    return done
