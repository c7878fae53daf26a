"""`revert_delivery`: a delivery is taken out as if it had never come, or put in again."""

import logging
from dataclasses import asdict, dataclass

import duckdb

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.ingested import Ingested
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.intents import is_pruned, is_reverted, want_reinstated, want_reverted
from lfp_pipeline.landing.outcomes import forget_outcome, last_noted
from lfp_pipeline.operations.report import Report
from lfp_pipeline.progress import counted, some_of
from lfp_pipeline.reading.workspace import WorkspaceLimits, workspace_of
from lfp_pipeline.reverting import find_heirs
from lfp_pipeline.warehouse.account import Status
from lfp_pipeline.warehouse.laws import needed_deliveries, product_count
from lfp_pipeline.warehouse.ledger import all_accounts
from lfp_pipeline.warehouse.reversal import Outlook, begin_reversal, outlook


@dataclass(frozen=True)
class _Before:
    """How things stand before a reversal, and which older deliveries are pruned."""

    outlook: Outlook
    products: int
    pruned: list[str]


def revert_delivery(
    engine: Engine,
    delivery_id: str,
    log: logging.Logger,
    *,
    dry_run: bool = False,
    despite_pruned: bool = False,
) -> Report:
    """Take a delivery out: what it has won falls to the next winners, what it has deleted is back.

    Killed in the middle, the next ingest_inbox carries it out.

    Args:
        engine: whose.
        delivery_id: as in the table deliveries.
        log: for progress.
        dry_run: only tell what it would do.
        despite_pruned: also where older deliveries, which may have had next winners, are pruned.

    Raises:
        LfpError: it is not out, and why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    with engine.warehouse.opened("looking what a reversal would do", log) as connection:
        before = _look(engine, connection, delivery)
        if before.pruned and before.outlook.orphans and not despite_pruned:
            msg = (
                f"{delivery_id} has won or deleted {counted(before.outlook.orphans, 'sku')}, and "
                "older deliveries, which may have had them, are pruned: "
                f"{some_of(before.pruned)}. Land their files again; or say despite_pruned, "
                "and what only they had is gone until they land again."
            )
            raise OperationRefusedError(msg)
        if not dry_run:
            want_reverted(delivery.path)  # Behind the lock: so nobody prunes what it needs.
    if dry_run:
        return _foretell(engine, delivery, log)
    done = _carry_out(engine, delivery, Status.REVERTED, log)
    summary = (
        f"{delivery_id} is out. It had won {counted(before.outlook.products, 'product')} and "
        f"deleted {counted(before.outlook.deletions, 'sku')}. Of products, there were "
        f"{before.products:,}, and are {done.products:,}. In the ledger: {done.account.error}"
    )
    return Report(summary, {"products_before": before.products, "products": done.products})


def reinstate_delivery(
    engine: Engine, delivery_id: str, log: logging.Logger, *, dry_run: bool = False
) -> Report:
    """Put a delivery that was taken out in again, as if it had just arrived.

    Raises:
        LfpError: it is not in, and why.
    """
    delivery = engine.raw_zone.find(delivery_id)
    with engine.warehouse.lock.held("looking what a reinstatement needs", log):  # Nobody prunes it.
        if not is_reverted(delivery.path):
            msg = f"{delivery_id} is not reverted: there is nothing to reinstate."
            raise OperationRefusedError(msg)
        if is_pruned(delivery.path):
            msg = (
                f"{delivery_id} is pruned: its bytes are gone. Drop its file again, with the time "
                "that it had, and run ingest_inbox; then reinstate it."
            )
            raise OperationRefusedError(msg)
        if not dry_run:
            forget_outcome(delivery.path)  # Killed after this, nothing has happened.
            want_reinstated(delivery.path)
    if dry_run:
        told = f"{delivery_id} would be taken in again, as if it had just arrived."
        return Report(told, {"size_bytes": delivery.size_bytes})
    done = _carry_out(engine, delivery, Status.MERGED, log)
    if done.account.status is Status.REFUSED:
        told = (
            f"{delivery_id} is reverted no longer, but refused, as bad data: {done.account.error}"
        )
    else:
        told = f"{delivery_id} is in again: {counted(done.products, 'product')} in all."
    return Report(told, {"products": done.products})


def _look(engine: Engine, connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> _Before:
    older_ids = [older.delivery_id for older in begin_reversal(connection, delivery)]
    pruned = [older for older in older_ids if not engine.raw_zone.keeps(older)]
    if needed := needed_deliveries(connection).intersection(pruned):
        msg = (
            f"The bytes of {some_of(sorted(needed))} are gone, and the tables need them. Put them "
            "back from a copy, or land their files again, first."
        )
        raise OperationRefusedError(msg)
    pruned += _pruned_before_this_database(engine, connection, delivery)
    return _Before(outlook(connection, delivery), product_count(connection), pruned)


def _pruned_before_this_database(
    engine: Engine, connection: duckdb.DuckDBPyConnection, delivery: Delivery
) -> list[str]:
    """Older pruned deliveries that the ledger does not know, because it was made anew since."""
    known = all_accounts(connection)
    return [
        one.delivery_id
        for one in engine.raw_zone.all_deliveries()
        if one.age < delivery.age
        and one.delivery_id not in known
        and is_pruned(one.path)
        and not is_reverted(one.path)
        and last_noted(one.path) != Status.REFUSED
    ]


def _foretell(engine: Engine, delivery: Delivery, log: logging.Logger) -> Report:
    limits = WorkspaceLimits.of(engine.settings)
    purpose = f"looking for heirs of {delivery.delivery_id}"
    with (
        workspace_of(engine.settings, limits) as workspace,
        engine.warehouse.attached(workspace.connection, purpose, log),
    ):
        find_heirs(delivery, workspace, engine.settings, log)
        found = outlook(workspace.connection, delivery)
    summary = (
        f"{delivery.delivery_id} would be taken out. Go: {counted(found.products, 'product')} and "
        f"{counted(found.deletions, 'deletion')}. Come in their place, from older deliveries: "
        f"{counted(found.heirs, 'product')}."
    )
    return Report(summary, asdict(found))


def _carry_out(engine: Engine, delivery: Delivery, wanted: Status, log: logging.Logger) -> Ingested:
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
