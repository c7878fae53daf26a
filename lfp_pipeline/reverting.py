"""Takes a delivery back out of the tables: its skus fall to their next winners in the raw zone."""

import logging

from lfp_pipeline.errors import DeliveryRefusedError, LfpError
from lfp_pipeline.landing.delivery import Delivery, Kind
from lfp_pipeline.landing.intact import check_intact
from lfp_pipeline.landing.intents import reverted_at
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.landing.sources import utc_now
from lfp_pipeline.progress import some_of
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.workspace import Workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.account import Account, Status
from lfp_pipeline.warehouse.deletion import read_doomed
from lfp_pipeline.warehouse.ledger import account_of
from lfp_pipeline.warehouse.reversal import Older, begin_reversal, bury, inherit, is_sought, reverse

_TOLD = "Reverted at {at:%Y-%m-%d %H:%M:%S} UTC. The job revert_delivery reinstates it."
_FORGONE = (
    " What {ids} may have had of its skus is gone, because the bytes are not kept: that counts "
    "again once it lands again."
)


def revert(
    delivery: Delivery,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
    *,
    draft: bool,
) -> Account:
    """Take a delivery out of the warehouse that is attached to the workspace, merged or not.

    Args:
        delivery: which.
        workspace: to read older deliveries in.
        settings: limits, rules.
        log: for progress.
        draft: whether the warehouse is one that nobody knows yet: nothing is given up for it.

    Returns:
        Its account. If it was out already, the one in the ledger.

    Raises:
        LfpError: an older delivery, which may have what is to come into its place, cannot be read;
            or, for a draft, is not kept. Nothing was changed.
    """
    known = account_of(workspace.connection, delivery)
    if known is not None and known.status is Status.REVERTED:
        return known
    forgone = find_heirs(delivery, workspace, settings, log)
    told = _TOLD.format(at=reverted_at(delivery.path) or utc_now())
    if forgone:
        ids = [older.delivery_id for older in forgone]
        if draft:
            msg = (
                f"What {some_of(ids)} may have had of its skus is needed, and was pruned meanwhile."
            )
            raise LfpError(msg)
        told += _FORGONE.format(ids=some_of(ids))
        for delivery_id in ids:  # Before it is so: what is offered once more does no harm.
            RawZone(settings.raw_dir).forget_outcome(delivery_id)
    return reverse(workspace.connection, delivery, told, forgone)


def find_heirs(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> list[Older]:
    """Find what comes into the place of what a delivery has won or deleted.

    Returns:
        Older deliveries that may have had it, and are not kept.

    Raises:
        LfpError: an older delivery, which may have it, cannot be read.
    """
    connection = workspace.connection
    raw_zone = RawZone(settings.raw_dir)
    digests_read: set[str] = set()
    forgone = []
    for older in begin_reversal(connection, delivery):
        # The same bytes again have nothing more.
        if older.sha256 in digests_read or not is_sought(connection, delivery, older):
            continue
        if not raw_zone.keeps(older.delivery_id):
            forgone.append(older)
            continue
        log.info("Looking into %s for what %s had won", older.delivery_id, delivery.delivery_id)
        kept = raw_zone.find(older.delivery_id)
        check_intact(kept, thorough=True)
        digests_read.add(kept.sha256)
        if kept.kind is Kind.DELETION:
            read_doomed(connection, kept.path)
            bury(connection, older)
        else:
            _read(kept, workspace, settings, log)
            inherit(connection, older)
    return forgone


def _read(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> None:
    with workspace.folder_for(0) as folder:
        try:
            texts = plain_texts(delivery, folder, settings)
            read_delivery(delivery, texts, workspace.connection, folder, settings, log)
        except DeliveryRefusedError as error:
            msg = (
                f"{delivery.delivery_id} was merged once, and cannot be read with the settings of "
                f"now: {error} Put the settings back that it was read with."
            )
            raise LfpError(msg) from error
