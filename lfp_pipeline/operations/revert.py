"""`revert_delivery`: a delivery is taken out as if it had never come, or put in again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import DeliveryRefusedError, LfpError, OperationRefusedError
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.ingest.reversal_check import Foreseen, checked_reversal
from lfp_pipeline.ingest.revert import earlier_settings, read_acceptably
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.report import Report
from lfp_pipeline.raw_zone.desired_state import (
    clear_reverted,
    is_pruned,
    is_reverted,
    mark_reverted,
)
from lfp_pipeline.raw_zone.integrity import verify_raw_file
from lfp_pipeline.raw_zone.status_notes import delete_status_note
from lfp_pipeline.reading.options import Conditions, Rereading, reread
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.ledger import account_of, forget_conditions


def revert_delivery(
    engine: Engine,
    delivery_id: str,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    despite_pruned: bool = False,
    use_present_settings: bool = False,
) -> Report:
    """Take a delivery out: what it has won falls to the next winners, what it has deleted is back.

    The next winners are what was read of older deliveries when they were merged.

    Killed in the middle, the next ingest_inbox carries it out.

    Args:
        engine: whose.
        delivery_id: as in the table deliveries.
        log: for progress.
        dry_run: only tell what it would do.
        despite_pruned: also where older deliveries, which may have had next winners, are pruned.
        use_present_settings: read older deliveries that were read with others with these settings,
            and correct their accounts.

    Raises:
        OperationRefusedError: something would be lost, or an older delivery cannot be read as it
            was. Nothing was done.
        LfpError: it is not out, and why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    with engine.backlog.being_reversed(delivery):
        with checked_reversal(
            delivery,
            engine.settings,
            engine.warehouse,
            log,
            despite_pruned=despite_pruned,
            use_present_settings=use_present_settings,
            foretell=dry_run,
        ) as foreseen:
            if dry_run:
                return _foretold(delivery_id, foreseen)
            # Behind the lock: nobody prunes what it needs.
            mark_reverted(delivery.path, use_present_settings=use_present_settings)
        done = _apply(engine, delivery, Status.REVERTED, log)
    summary = (
        f"{delivery_id} is out. It had won {pluralize(foreseen.before.products, 'product')} and "
        f"deleted {pluralize(foreseen.before.deletions, 'sku')}. Of products, there were "
        f"{foreseen.products:,}, and are {done.products:,}. In the ledger: {done.account.error}"
    )
    return Report(summary, {"products_before": foreseen.products, "products": done.products})


def reinstate_delivery(
    engine: Engine,
    delivery_id: str,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    use_present_settings: bool = False,
) -> Report:
    """Put a delivery that was taken out in again, as if it had just arrived.

    It is read with the settings that it was merged with before, if the ledger has them. What would
    be refused stays out.

    Args:
        engine: whose.
        delivery_id: as in the table deliveries.
        log: for progress.
        dry_run: only tell what it would do.
        use_present_settings: read it with these settings, whatever it was read with before.

    Raises:
        OperationRefusedError: it cannot be reinstated, or would be refused. Nothing was done.
        LfpError: it is not in, and why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    with engine.backlog.being_reversed(delivery):
        with _looking(engine, "looking what a reinstatement needs", log) as workspace:
            connection = workspace.connection
            if not is_reverted(delivery.path):
                msg = f"{delivery_id} is not reverted: there is nothing to reinstate."
                raise OperationRefusedError(msg)
            if is_pruned(delivery.path):
                msg = (
                    f"{delivery_id} is pruned: its bytes are gone. Drop its file again, with the "
                    "time that it had, and run ingest_inbox; then reinstate it."
                )
                raise OperationRefusedError(msg)
            way = _way_to_read(engine, delivery, workspace, log, present=use_present_settings)
            if not dry_run:  # Behind the lock: nobody prunes it.
                if use_present_settings:
                    forget_conditions(connection, delivery_id)
                delete_status_note(delivery.path)  # Killed after this, nothing has happened.
                clear_reverted(delivery.path)
        if dry_run:
            told = f"{delivery_id} would be taken in again, as if it had just arrived."
            if way.kept:
                told += f" {earlier_settings([delivery_id], way.kept)}"
            return Report(told, {"size_bytes": delivery.size_bytes})
        done = _apply(engine, delivery, Status.MERGED, log)
    if done.account.status is Status.REFUSED:  # Somebody else has read it, in another way.
        msg = f"{delivery_id} is reverted no longer, but refused, as bad data: {done.account.error}"
        raise LfpError(msg)
    told = f"{delivery_id} is in again: {pluralize(done.products, 'product')} in all."
    if way.kept and done.reading is not None:
        told += f" {earlier_settings([delivery_id], way.kept)}"
    return Report(told, {"products": done.products})


def _way_to_read(
    engine: Engine,
    delivery: Delivery,
    workspace: Workspace,
    log: logging.Logger,
    *,
    present: bool,
) -> Rereading:
    """How a delivery is read that is to be reinstated: as it was merged before, if it was.

    Args:
        engine: whose.
        delivery: which.
        workspace: with the warehouse attached; to try the reading.
        log: for progress.
        present: whether it is to be read with the settings of now all the same.

    Raises:
        OperationRefusedError: it would be refused then, or cannot be read as before.
    """
    way = Rereading(engine.settings)
    known = account_of(workspace.connection, delivery)
    is_in = known is not None and known.status is Status.MERGED  # It was not taken out yet.
    if is_in or delivery.kind is Kind.DELETION:
        return way  # Nothing is read.
    if known is not None and known.read_conditions is not None and not present:
        way = reread(known.read_with, known.read_conditions, None, engine.settings)
    if way.differences:
        msg = (
            f"{delivery.delivery_id} cannot be read as it was when it was merged: "
            f"{'; '.join(way.differences)}. Nothing is changed. Put back what has changed; or say "
            "use_present_settings, and it is read with the settings of now."
        )
        raise OperationRefusedError(msg)
    read_with = Conditions.of(way.settings, delivery.text_format).digest
    if known is None or known.read_with != read_with:  # Else it was accepted before.
        _see_that_it_is_accepted(delivery, workspace, way.settings, log)
    return way


def _see_that_it_is_accepted(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> None:
    verify_raw_file(delivery)
    try:
        read_acceptably(delivery, workspace, settings, log)
    except DeliveryRefusedError as error:
        msg = (
            f"{delivery.delivery_id} would be refused with these settings: {error} Nothing is "
            "changed: it stays reverted. Change the settings; or mend the file and drop it anew."
        )
        raise OperationRefusedError(msg) from error


@contextmanager
def _looking(engine: Engine, purpose: str, log: logging.Logger) -> Iterator[Workspace]:
    """A workspace to read in, behind the lock."""
    with (
        workspace_of(engine.settings, WorkspaceLimits.of(engine.settings)) as workspace,
        engine.warehouse.attached(workspace.connection, purpose, log),
    ):
        yield workspace


def _foretold(delivery_id: str, foreseen: Foreseen) -> Report:
    found = foreseen.after or foreseen.before
    summary = (
        f"{delivery_id} would be taken out. Go: {pluralize(found.products, 'product')} and "
        f"{pluralize(found.deletions, 'deletion')}. Come in their place, from older deliveries: "
        f"{pluralize(found.heirs, 'product')}."
    )
    if foreseen.replacements.corrected:
        ids = preview(foreseen.replacements.corrected_ids)
        summary += f" These would be read again with the settings of now: {ids}."
    if foreseen.replacements.as_then:
        summary += f" {foreseen.replacements.earlier_settings}"
    return Report(summary, asdict(found))


def _apply(engine: Engine, delivery: Delivery, wanted: Status, log: logging.Logger) -> IngestResult:
    """Have the warehouse follow what is wanted, which is noted.

    Raises:
        LfpError: it could not. What is wanted stays so, and the next ingest_inbox tries again. Or
            somebody wants the contrary meanwhile.
    """
    done = engine.ingest(delivery, log)
    status = done.account.status
    if status is Status.FAILED:
        msg = (
            f"{delivery.delivery_id} is to be {wanted}, and is not yet: {done.account.error} The "
            "next ingest_inbox tries again; the contrary can be asked for, too."
        )
        raise LfpError(msg)
    if (status is Status.REVERTED) != (wanted is Status.REVERTED):
        msg = f"Somebody has asked for the contrary meanwhile: {delivery.delivery_id} is {status}."
        raise LfpError(msg)
    return done
