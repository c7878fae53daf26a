"""Revert a delivery: for each of its skus, the next newest row in the raw zone takes effect.

That row comes from an older delivery, which is read as it was read when it was merged. If that is
not possible, the reversal is refused. On request, the older delivery is read with the present
settings instead, and its ledger entry and rows are corrected in the same transaction.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lfp_pipeline.common.text import format_size, preview
from lfp_pipeline.errors import DeliveryRefusedError, LfpError, OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.options import Conditions, ReadOptions, reread
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, read_delivery
from lfp_pipeline.reading.workspace import Workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.deletions import read_skus_to_delete
from lfp_pipeline.warehouse.ledger import entry_of
from lfp_pipeline.warehouse.merge import StagedDelivery, entry_of_staged
from lfp_pipeline.warehouse.reversal import (
    OlderDelivery,
    add_replacements,
    add_tombstones,
    apply_reversal,
    correct,
    may_replace,
    plan_reversal,
)

_REVERTED = "Reverted at {at:%Y-%m-%d %H:%M:%S} UTC. `lfp reinstate` merges it again."
_DISMISSED = "Dismissed at {at:%Y-%m-%d %H:%M:%S} UTC. {why}"
_UNAVAILABLE = (
    " Rows that {labels} may have had of its skus are lost, because the bytes are pruned; they "
    "count again once the files land again."
)
_CORRECTED = " Read again with the present settings, and corrected: {labels}."
_AS_THEN = (
    "Read as when merged: {labels} ({kept}). --use-present-settings reads that with the present "
    "settings."
)


@dataclass(frozen=True)
class Replacements:
    """The older deliveries that replacements came from; the rows are in the workspace.

    Attributes:
        unavailable: older deliveries that may have replacements, but are pruned.
        corrected: older deliveries that were read with the present settings, with their new ledger
            entries.
        as_then: short names of older deliveries that were read with earlier settings, by the
            differences of these from the present ones.
    """

    unavailable: list[OlderDelivery] = field(default_factory=list)
    corrected: list[tuple[Delivery, LedgerEntry]] = field(default_factory=list)
    as_then: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @property
    def corrected_labels(self) -> list[str]:
        """The short names of the corrected deliveries."""
        return [delivery.label for delivery, _ in self.corrected]

    @property
    def earlier_settings(self) -> str:
        """The deliveries that were read with earlier settings, as sentences."""
        return " ".join(earlier_settings(labels, kept) for kept, labels in self.as_then.items())


def earlier_settings(labels: Sequence[str], kept: Sequence[str]) -> str:
    """Return a sentence on deliveries that are read with earlier settings, and on these."""
    return _AS_THEN.format(labels=preview(labels), kept="; ".join(kept))


def revert(
    delivery: Delivery,
    raw_zone: RawZone,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
    *,
    is_shadow: bool,
) -> LedgerEntry:
    """Revert a delivery, merged or not, in the warehouse that is attached to the workspace.

    Args:
        is_shadow: whether the warehouse is a shadow build, for which no row may be lost.

    Returns:
        Its ledger entry: the earlier one, if it was reverted already.

    Raises:
        LfpError: an older delivery, which may have replacements, cannot be read as it was read
            before, or is pruned although this is a shadow build. Nothing was changed.
    """
    entry = entry_of(workspace.connection, delivery)
    if entry is not None and entry.status is Status.REVERTED:
        return entry
    desired, name = raw_zone.desired, delivery.raw_name
    present = desired.may_use_present_settings(name)
    found = find_replacements(
        delivery, raw_zone, workspace, settings, log, use_present_settings=present
    )
    at, why = desired.reverted_at(name) or raw_zone.now(), desired.reason_of_dismissed(name)
    message = _REVERTED.format(at=at) if why is None else _DISMISSED.format(at=at, why=why)
    if found.corrected:
        message += _CORRECTED.format(labels=preview(found.corrected_labels))
    if found.as_then:
        message += f" {found.earlier_settings}"
    if found.unavailable:
        names = [raw_zone.name_of(older.delivery_id) for older in found.unavailable]
        labels = preview([older.label for older in found.unavailable])
        if is_shadow:
            msg = f"Rows that {labels} may have had are needed, and were pruned meanwhile."
            raise LfpError(msg)
        message += _UNAVAILABLE.format(labels=labels)
        for older in filter(None, names):
            # Before the commit: looking a delivery up again is harmless.
            raw_zone.notes.delete(older)
    connection = workspace.connection
    return apply_reversal(connection, delivery, message, found.unavailable, found.corrected)


def find_replacements(
    delivery: Delivery,
    raw_zone: RawZone,
    workspace: Workspace,
    settings: Settings,
    log: logging.Logger,
    *,
    use_present_settings: bool,
) -> Replacements:
    """Find the rows of older deliveries that replace what a delivery has won or deleted.

    Args:
        workspace: for reading older deliveries, with the warehouse attached.
        use_present_settings: read older deliveries with these settings, and correct them, even if
            they were read with other ones.

    Raises:
        OperationRefusedError: an older delivery, which may have replacements, cannot be read as it
            was read before.
        LfpError: an older delivery cannot be read at all.
    """
    connection = workspace.connection
    found = Replacements()
    searched: set[tuple[str, str | None]] = set()
    chosen = plan_reversal(connection, delivery)
    for number, older in enumerate(chosen, 1):
        # The same bytes, read in the same way, have the same rows.
        if (older.sha256, older.read_with) in searched:
            continue
        if not may_replace(connection, delivery, older):
            continue
        if not raw_zone.keeps(older.delivery_id):
            found.unavailable.append(older)
            continue
        kept = raw_zone.find(older.delivery_id)
        size = format_size(kept.size_bytes)
        log.info("Searching delivery %d of %d: %s (%s)", number, len(chosen), kept.label, size)
        now = Conditions.of(ReadOptions.of(settings), kept.text_format)
        with raw_zone.verified(kept, full=True):
            if kept.kind is Kind.DELETION:
                read_skus_to_delete(connection, kept.path)
                add_tombstones(connection, older)
            elif use_present_settings and older.read_with != now.digest:
                started = time.perf_counter()
                reading = _read_as_now(kept, workspace, settings, log)
                outcomes = correct(connection, delivery, older)
                entry = entry_of_staged(StagedDelivery(kept, reading, now), outcomes, started)
                found.corrected.append((kept, entry))
                searched.add((kept.sha256, now.digest))
                continue
            else:
                if settings_kept := _read_as_then(kept, older, workspace, settings, log):
                    found.as_then.setdefault(settings_kept, []).append(kept.label)
                add_replacements(connection, older)
        searched.add((older.sha256, older.read_with))
    return found


def may_be_refused(
    older: Sequence[OlderDelivery], settings: Settings, *, use_present_settings: bool
) -> bool:
    """Return whether the search for replacements may be refused, by how deliveries were read."""
    conditions = {
        (delivery.read_with, delivery.read_conditions)
        for delivery in older
        if delivery.kind != Kind.DELETION
    }
    ways = [reread(*recorded, None, settings) for recorded in conditions]
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
    """Read an older delivery as when it was merged; return the settings of then that differ."""
    way = reread(older.read_with, older.read_conditions, kept.text_format, settings)
    if way.differences:
        msg = (
            f"Replacements come from {kept.label}, which cannot be read as before: "
            f"{'; '.join(way.differences)}. Nothing is changed. Run `lfp rebuild`, which reads "
            "and records everything again; or restore what has changed; or add "
            "--use-present-settings, which reads and corrects that delivery with these settings."
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
            f"{kept.label} was merged before, and is refused with the present settings: "
            f"{error} Nothing is changed. Restore its earlier settings, or revert it, too."
        )
        raise OperationRefusedError(msg) from error


def read_acceptably(
    delivery: Delivery, workspace: Workspace, settings: Settings, log: logging.Logger
) -> Reading:
    """Read a delivery; raise DeliveryRefusedError if the settings do not accept it."""
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
