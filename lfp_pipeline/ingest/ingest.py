"""Deliveries on their way from the raw zone into the tables: read, merged or refused, told."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from lfp_pipeline.errors import (
    LandingError,
    LfpError,
    OperationRefusedError,
    WarehouseBusyError,
    WarehouseCorruptError,
    hint_for,
    user_message,
)
from lfp_pipeline.ingest.batch_merge import (
    DesiredStateChangedError,
    OtherSettingsError,
    reconcile_batch,
)
from lfp_pipeline.ingest.delivery_warnings import delivery_warnings
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.ingest.reversal_check import checked_reversal
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.desired_state import (
    clear_reverted,
    is_reverted,
    mark_reverted,
    state_of,
)
from lfp_pipeline.raw_zone.raw_records import as_recorded
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.status_notes import MERGED, last_recorded_status, write_status_note
from lfp_pipeline.reading.crash_guard import crashed_digests
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.merge import note_unmerged

_UNRECORDABLE = (WarehouseBusyError, WarehouseCorruptError)
"""Errors after which the ledger cannot be written."""


@dataclass(frozen=True)
class _Part:
    """Deliveries that are read and merged together.

    Attributes:
        deliveries: at least one, oldest first.
        settings: the settings that the deliveries are read with.
    """

    deliveries: Sequence[Delivery]
    settings: Settings


def ingest(
    deliveries: Sequence[Delivery],
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    *,
    workers: int = 1,
) -> list[IngestResult]:
    """Read deliveries and merge them together; a failure is recorded in a delivery's ledger entry.

    Each round of the loop finishes a part, divides a part into single deliveries, or takes over a
    change that another process made meanwhile. So the loop ends.

    Args:
        deliveries: in the raw zone, at least one.
        settings: limits, rules, waiting times.
        warehouse: to merge into.
        log: for progress and tracebacks.
        workers: number of batches that share the threads and memory of this process.
    """
    unique = {delivery.delivery_id: delivery for delivery in deliveries}.values()
    oldest_first = sorted(unique, key=lambda delivery: delivery.order_key)
    raw_zone, inbox = RawZone(settings.raw_dir), settings.inbox_dir
    remaining = [_Part(oldest_first, settings)]
    results: list[IngestResult] = []
    while remaining:
        part, *remaining = [*_split_batch(remaining[0]), *remaining[1:]]
        try:
            merged = reconcile_batch(part.deliveries, part.settings, warehouse, log, workers)
        except DesiredStateChangedError:
            remaining = [_reload_changed(part), *remaining]
            continue
        except OtherSettingsError as error:
            remaining = [*_split_into_singles(part, error.settings), *remaining]
            continue
        except Exception as error:
            if len(part.deliveries) > 1 and not isinstance(error, _UNRECORDABLE):
                log.warning("Merged one by one, because together they failed", exc_info=True)
                remaining = [*_split_into_singles(part), *remaining]
                continue
            merged = [_failed(delivery, error, warehouse, log) for delivery in part.deliveries]
        if not warehouse.is_shadow:
            conclude(merged, part.settings, warehouse, log)
        results += [
            replace(one, warnings=delivery_warnings(one.delivery, one.account, raw_zone, inbox))
            for one in merged
        ]
    return results


def _split_batch(part: _Part) -> list[_Part]:
    """Split off the deliveries that must be merged alone; the others stay together.

    A file that crashed a reader may fail, and take long to fail. Deletions and reversals are merged
    in other ways.
    """
    crashed = crashed_digests(part.settings)
    alone: list[Delivery] = []
    together: list[Delivery] = []
    for delivery in part.deliveries:
        is_other = delivery.kind is Kind.DELETION or is_reverted(delivery.path)
        (alone if is_other or delivery.sha256 in crashed else together).append(delivery)
    parts = [[delivery] for delivery in alone] + ([together] if together else [])
    return [replace(part, deliveries=deliveries) for deliveries in parts]


def _reload_changed(part: _Part) -> _Part:
    """Return a part with the text formats that the raw zone records now, to be split again."""
    return replace(part, deliveries=[as_recorded(delivery) for delivery in part.deliveries])


def _split_into_singles(part: _Part, settings: Settings | None = None) -> list[_Part]:
    """Return a part for each delivery. A delivery that is alone already gets other settings."""
    if settings is None or len(part.deliveries) > 1:
        settings = part.settings
    return [_Part([delivery], settings) for delivery in part.deliveries]


def conclude(
    ingested: Sequence[IngestResult], settings: Settings, warehouse: Warehouse, log: logging.Logger
) -> None:
    """Revert the unfinished uploads that newly merged deliveries complete, and note all outcomes.

    The outcome of a delivery is noted last: where a process dies before, the next one concludes it.
    """
    for one in ingested:
        if one.account.status is Status.FAILED or one.database_id is None:
            continue
        if one.account.status is Status.MERGED:
            try:
                _take_out_unfinished(one.delivery, settings, warehouse, log)
            except (WarehouseBusyError, WarehouseCorruptError, OSError) as error:
                log.warning(
                    "%s is not reverted yet: %s. The next run tries again.",
                    one.delivery.completes,
                    user_message(error).rstrip("."),
                )
                continue
        # If it is to be in or out contrary to that by now, it will come to another end.
        if state_of(one.delivery, one.account.status).is_reconciled:
            try_to_write_status_note(one.delivery.path, one.account.status, one.database_id, log)


def _take_out_unfinished(
    delivery: Delivery, settings: Settings, warehouse: Warehouse, log: logging.Logger
) -> None:
    """Revert the unfinished upload that a merged delivery completes, as revert_delivery would.

    That is done once, also where the database is made anew: what people want since then counts.
    """
    if delivery.completes is None or last_recorded_status(delivery.path) == MERGED:
        return
    try:
        unfinished = RawZone(settings.raw_dir).find(delivery.completes)
    except LandingError:  # It is not there any more.
        return
    if is_reverted(unfinished.path):
        return
    try:
        with checked_reversal(unfinished, settings, warehouse, log):
            mark_reverted(unfinished.path)
        (reverted,) = ingest([unfinished], settings, warehouse, log)
        if reverted.account.status is Status.FAILED and not reverted.busy:
            clear_reverted(unfinished.path)  # Nobody has asked for it: it may not block runs.
            raise OperationRefusedError(reverted.account.error)
        log.warning(
            "%s was an unfinished upload: %s begins with it, and goes on in the middle of its "
            "last record. %s.",
            unfinished.delivery_id,
            delivery.delivery_id,
            "The next run reverts it" if reverted.busy else "It is reverted",
        )
    except (WarehouseBusyError, WarehouseCorruptError):
        raise
    except (LfpError, duckdb.Error) as error:
        log.warning(
            "%s is an unfinished upload, and is not reverted: %s To have it out, run "
            "revert_delivery.",
            unfinished.delivery_id,
            error,
        )


def _failed(
    delivery: Delivery, error: Exception, warehouse: Warehouse, log: logging.Logger
) -> IngestResult:
    """Return the result of a delivery that an error kept out, and record it where possible."""
    failed = LedgerEntry(delivery.delivery_id, Status.FAILED, error=user_message(error))
    if isinstance(error, _UNRECORDABLE):
        return IngestResult(delivery, failed, busy=isinstance(error, WarehouseBusyError))
    if not isinstance(error, LfpError) and not hint_for(error):
        log.error("%s failed", delivery.delivery_id, exc_info=error)
    if is_reverted(delivery.path):  # It is in, as its ledger row says, and should be out.
        return IngestResult(delivery, replace(failed, error=f"It is not out. {failed.error}"))
    try:
        with warehouse.session("noting a failure", log) as connection:
            failed = note_unmerged(connection, delivery, Status.FAILED, user_message(error))
    except (LfpError, duckdb.Error, OSError) as ledger_error:
        log.warning("The failure could not be noted in the ledger: %s", user_message(ledger_error))
    return IngestResult(delivery, failed)


def try_to_write_status_note(
    raw: Path, status: Status, database_id: str, log: logging.Logger
) -> None:
    """Note what became of a delivery; where that fails, it is offered once more."""
    try:
        write_status_note(raw, status, database_id)
    except OSError as error:  # The ledger knows.
        log.warning("The outcome of %s could not be noted: %s", raw, error)
