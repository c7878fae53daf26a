"""Takes a delivery back out of the tables: its skus fall to their next winners in the raw zone.

The next winners are what the ledger says was read of the older deliveries. So each is read as it
was read then; where that is not possible, the reversal is refused, or, on request, the older
delivery is read with the settings of now and its account corrected together with the tables.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import DeliveryRefusedError, LfpError, OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.desired_state import may_use_present_settings, reverted_at
from lfp_pipeline.raw_zone.integrity import verify_raw_file
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.options import Conditions, ReadOptions, reread
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, read_delivery
from lfp_pipeline.reading.workspace import Workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.deletions import read_skus_to_delete
from lfp_pipeline.warehouse.ledger import account_of
from lfp_pipeline.warehouse.merge import StagedDelivery, account_of_arrived
from lfp_pipeline.warehouse.reversal import (
    OlderDelivery,
    add_replacements,
    add_tombstones,
    apply_reversal,
    correct,
    may_replace,
    plan_reversal,
)

_TOLD = "Reverted at {at:%Y-%m-%d %H:%M:%S} UTC. The job revert_delivery reinstates it."
_FORGONE = (
    " What {ids} may have had of its skus is gone, because the bytes are not kept: that counts "
    "again once it lands again."
)
_CORRECTED = " Read again with the settings of now, and corrected: {ids}."
_AS_THEN = (
    "Read as when merged: {ids} ({kept}). use_present_settings: true reads that with the present "
    "settings."
)


@dataclass(frozen=True)
class Heirs:
    """Where the next winners came from; they are in the workspace.

    Attributes:
        unavailable: older deliveries that may have some, and are not kept.
        corrected: older deliveries that were read with the settings of now, with their accounts.
        as_then: ids of those that were read with settings of then, by how these differ from those
            of now.
    """

    unavailable: list[OlderDelivery] = field(default_factory=list)
    corrected: list[tuple[Delivery, LedgerEntry]] = field(default_factory=list)
    as_then: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @property
    def corrected_ids(self) -> list[str]:
        """The ids of the corrected ones."""
        return [one.delivery_id for one, _ in self.corrected]

    @property
    def told_as_then(self) -> str:
        """Which were read with other settings than those of now, for people."""
        return " ".join(told_as_then(ids, kept) for kept, ids in self.as_then.items())


def told_as_then(ids: Sequence[str], kept: Sequence[str]) -> str:
    """Say that deliveries are read with settings of then, and how these differ, for people."""
    return _AS_THEN.format(ids=preview(ids), kept="; ".join(kept))


def revert(
    delivery: Delivery,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
    *,
    is_shadow: bool,
) -> LedgerEntry:
    """Take a delivery out of the warehouse that is attached to the workspace, merged or not.

    Args:
        delivery: which.
        workspace: to read older deliveries in.
        settings: limits, rules.
        log: for progress.
        is_shadow: whether the warehouse is one that nobody knows yet: nothing is given up for it.

    Returns:
        Its account. If it was out already, the one in the ledger.

    Raises:
        LfpError: an older delivery, which may have what is to come into its place, cannot be read
            as it was; or, for a draft, is not kept. Nothing was changed.
    """
    known = account_of(workspace.connection, delivery)
    if known is not None and known.status is Status.REVERTED:
        return known
    present = may_use_present_settings(delivery.path)
    heirs = find_replacements(delivery, workspace, settings, log, use_present_settings=present)
    told = _TOLD.format(at=reverted_at(delivery.path) or utc_now())
    if heirs.corrected:
        told += _CORRECTED.format(ids=preview(heirs.corrected_ids))
    if heirs.as_then:
        told += f" {heirs.told_as_then}"
    if heirs.unavailable:
        ids = [older.delivery_id for older in heirs.unavailable]
        if is_shadow:
            msg = (
                f"What {preview(ids)} may have had of its skus is needed, and was pruned meanwhile."
            )
            raise LfpError(msg)
        told += _FORGONE.format(ids=preview(ids))
        for delivery_id in ids:  # Before it is so: what is offered once more does no harm.
            RawZone(settings.raw_dir).delete_status_note(delivery_id)
    return apply_reversal(workspace.connection, delivery, told, heirs.unavailable, heirs.corrected)


def find_replacements(
    delivery: Delivery,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
    *,
    use_present_settings: bool,
) -> Heirs:
    """Find what comes into the place of what a delivery has won or deleted.

    Args:
        delivery: which.
        workspace: to read older deliveries in, with the warehouse attached.
        settings: limits, rules.
        log: for progress.
        use_present_settings: whether older deliveries that were read with others are read with
            these, and corrected.

    Raises:
        OperationRefusedError: an older delivery, which may have it, cannot be read as it was.
        LfpError: it cannot be read at all.
    """
    connection = workspace.connection
    raw_zone = RawZone(settings.raw_dir)
    heirs = Heirs()
    looked_into: set[tuple[str, str | None]] = set()
    for older in plan_reversal(connection, delivery):
        # The same bytes, read in the same way, have nothing more.
        if (older.sha256, older.read_with) in looked_into:
            continue
        if not may_replace(connection, delivery, older):
            continue
        if not raw_zone.keeps(older.delivery_id):
            heirs.unavailable.append(older)
            continue
        log.info("Looking into %s for what %s had won", older.delivery_id, delivery.delivery_id)
        kept = raw_zone.find(older.delivery_id)
        verify_raw_file(kept, thorough=True)
        now = Conditions.of(ReadOptions.of(settings), kept.text_format)
        if kept.kind is Kind.DELETION:
            read_skus_to_delete(connection, kept.path)
            add_tombstones(connection, older)
        elif use_present_settings and older.read_with != now.digest:
            started = time.perf_counter()
            reading = _read_as_now(kept, workspace, settings, log)
            fates = correct(connection, delivery, older)
            account = account_of_arrived(StagedDelivery(kept, reading, now), fates, started)
            heirs.corrected.append((kept, account))
            looked_into.add((kept.sha256, now.digest))
            continue
        else:
            if settings_kept := _read_as_then(kept, older, workspace, settings, log):
                heirs.as_then.setdefault(settings_kept, []).append(kept.delivery_id)
            add_replacements(connection, older)
        looked_into.add((older.sha256, older.read_with))
    return heirs


def may_be_refused(
    older: Sequence[OlderDelivery], settings: Settings, *, use_present_settings: bool
) -> bool:
    """Whether the search for heirs may be refused because of how older deliveries were read."""
    recorded = {(one.read_with, one.read_conditions) for one in older if one.kind != Kind.DELETION}
    ways = [reread(*one, None, settings) for one in recorded]
    return any(
        way.differences or (use_present_settings and way.settings is not settings) for way in ways
    )


def _read_as_then(
    kept: Delivery,
    older: OlderDelivery,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
) -> tuple[str, ...]:
    """Read an older delivery as it was read when it was merged.

    Returns:
        The settings of then that are others now, each with both values.

    Raises:
        OperationRefusedError: other rows may come out.
    """
    way = reread(older.read_with, older.read_conditions, kept.text_format, settings)
    if way.differences:
        msg = (
            f"What comes in its place was read from {kept.delivery_id} once, and that cannot be "
            f"restored: {'; '.join(way.differences)}. Nothing is changed. Put back what has "
            "changed; or run rebuild_products, which reads and records everything anew; or say "
            "use_present_settings, and that delivery is read with the settings of now, and its "
            "account corrected."
        )
        raise OperationRefusedError(msg)
    _read(kept, workspace, way.settings, log)
    return way.kept


def _read_as_now(
    kept: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> Reading:
    try:
        return read_acceptably(kept, workspace, settings, log)
    except DeliveryRefusedError as error:
        msg = (
            f"{kept.delivery_id} was merged once, and is refused with the settings of now: {error} "
            "Put the settings back that it was read with, or revert it, too. Nothing is changed."
        )
        raise OperationRefusedError(msg) from error


def read_acceptably(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> Reading:
    """Read a delivery into a workspace, as far as the settings accept it.

    Raises:
        DeliveryRefusedError: they do not.
    """
    reading = _read(delivery, workspace, settings, log)
    check_reject_share(reading, settings.max_reject_share, kept=False)
    return reading


def _read(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> Reading:
    options = ReadOptions.of(settings)
    with workspace.folder_for(0) as folder:
        texts = plain_texts(delivery, folder, options)
        return read_delivery(delivery, texts, workspace.connection, folder, options, log)
