"""Dismisses what needs no more attention (`dismiss_delivery`).

A dismissed delivery is a reverted one that had never been merged. So a rebuild leaves it out, no
run tries it again, and reinstating it does. Another version of the file is another delivery. Of a
merged delivery, the rejected rows are dismissed, which changes no table, and lasts as long as the
same rows are rejected. Reinstating takes that back, too.
"""

import logging

import duckdb

from lfp_pipeline.common.text import pluralize, visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.operations import Figures, Report
from lfp_pipeline.operations.attention import digest_of_rejects, why_rejects_are_fixed
from lfp_pipeline.warehouse.ledger import entry_of

_NOT_LANDED = "The ledger does not have it. Run `lfp ingest` first."

_NOTHING_TO_DISMISS = {
    Status.MERGED: "It is merged, without rejected rows. `lfp revert` undoes it.",
    Status.REVERTED: "It is reverted or dismissed already.",
}


def dismiss_delivery(
    engine: Engine, delivery_id: str, log: logging.Logger, *, dry_run: bool = False
) -> Report:
    """Dismiss a refused or failed delivery, or the rejected rows of a merged one.

    Raises:
        OperationRefusedError: the delivery needs no attention. Nothing was changed.
        LfpError: the delivery is not dismissed; the message says why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    figures = {"delivery_id": delivery_id}
    with engine.backlog.being_reversed(delivery):
        with engine.warehouse.session("planning a dismissal", log) as connection:
            entry = _entry_to_dismiss(engine, connection, delivery)
            if entry.status is Status.MERGED:
                digest = None if dry_run else digest_of_rejects(connection, delivery_id)
                return _dismiss_rejects(engine, delivery, entry.rows.rejected, digest)
            if dry_run:
                return Report(f"{delivery.label} would be dismissed. {_reason(entry)}", figures)
            # Still under the writer lock: no run merges the delivery in between.
            engine.raw_zone.desired.mark_dismissed(delivery.raw_name, _reason(entry))
        done = engine.ingest(delivery, log)
    if done.account.status is not Status.REVERTED:
        msg = f"{delivery.label} is not dismissed yet: {done.account.error} Try again."
        raise LfpError(msg)
    summary = f"{delivery.label} is dismissed. No run tries it again; `lfp reinstate` does."
    summary += f" {_reason(entry)}"
    return Report(summary, figures, changed=[delivery])


def require_to_dismiss(engine: Engine, delivery: Delivery, log: logging.Logger) -> None:
    """Raise an OperationRefusedError unless a delivery, or its rejected rows, need attention."""
    with engine.warehouse.session("checking a dismissal", log) as connection:
        _entry_to_dismiss(engine, connection, delivery)


def _dismiss_rejects(engine: Engine, delivery: Delivery, number: int, digest: str | None) -> Report:
    """Dismiss the rejected rows with a digest; None: say what would be dismissed."""
    figures: Figures = {"delivery_id": delivery.delivery_id, "rejected_rows": number}
    what = f"{pluralize(number, 'rejected row')} of {delivery.label}"
    if digest is None:
        return Report(f"Would dismiss {what}.", figures)
    engine.raw_zone.desired.dismiss_rejects(delivery.raw_name, digest)
    summary = f"Dismissed {what}. Its other rows stay. `lfp reinstate` takes the dismissal back."
    return Report(summary, figures, changed=[delivery])


def _entry_to_dismiss(
    engine: Engine, connection: duckdb.DuckDBPyConnection, delivery: Delivery
) -> LedgerEntry:
    entry = entry_of(connection, delivery)
    if entry is None:
        why: str | None = _NOT_LANDED
    elif entry.status is Status.MERGED and entry.rows.rejected:
        why = why_rejects_are_fixed(engine, connection, delivery.delivery_id)
    else:
        why = _NOTHING_TO_DISMISS.get(entry.status)
    if entry is None or why:
        msg = f"{delivery.label} needs no attention. {why}"
        raise OperationRefusedError(msg)
    return entry


def _reason(entry: LedgerEntry) -> str:
    return f"It {entry.status.phrase}: {visible(entry.error or 'for an unknown reason')}"
