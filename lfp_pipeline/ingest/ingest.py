"""Ingest deliveries from the raw zone: read, merge or refuse them, and write their status notes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from lfp_pipeline.errors import (
    BucketUnreachableError,
    CatalogUnreachableError,
    LandingError,
    LfpError,
    OperationRefusedError,
    WarehouseBusyError,
    WarehouseCorruptError,
    hint_for,
    user_message,
)
from lfp_pipeline.ingest.batch_merge import reconcile_batch
from lfp_pipeline.ingest.delivery_warnings import delivery_warnings
from lfp_pipeline.ingest.result import (
    DesiredStateChangedError,
    IngestResult,
    OtherSettingsError,
)
from lfp_pipeline.ingest.reversal_check import checked_reversal
from lfp_pipeline.model.delivery import Delivery, Kind, RawName
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.raw_zone.status_notes import StatusNotes
from lfp_pipeline.reading.crash_guard import crashed_digests
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.merge import record_unmerged

_UNRECORDABLE = (WarehouseBusyError, WarehouseCorruptError)
"""Errors after which the ledger cannot be written."""


@dataclass(frozen=True)
class _Part:
    """Deliveries that are read and merged together.

    Attributes:
        deliveries: at least one, oldest first.
    """

    deliveries: Sequence[Delivery]
    settings: Settings


def ingest(
    deliveries: Sequence[Delivery],
    raw_zone: RawZone,
    settings: Settings,
    warehouse: Backend,
    log: logging.Logger,
    *,
    workers: int = 1,
) -> list[IngestResult]:
    """Read deliveries and merge them together; a failure is recorded in a delivery's ledger entry.

    Each round of the loop finishes a part, divides a part into single deliveries, or takes over a
    change that another process made meanwhile. So the loop ends.

    Args:
        deliveries: in the raw zone, at least one.
        workers: number of batches that share the threads and memory of this process.

    Raises:
        BucketUnreachableError: the server of the raw files does not answer, for a shadow database.
    """
    unique = {delivery.delivery_id: delivery for delivery in deliveries}.values()
    oldest_first = sorted(unique, key=lambda delivery: delivery.order_key)
    remaining = [_Part(oldest_first, settings)]
    results: list[IngestResult] = []
    while remaining:
        part, *others = _split_batch(remaining.pop(0), raw_zone)
        remaining = [*others, *remaining]
        try:
            batch = reconcile_batch(
                part.deliveries, raw_zone, part.settings, warehouse, log, workers
            )
        except DesiredStateChangedError:
            deliveries = [raw_zone.records.as_recorded(delivery) for delivery in part.deliveries]
            remaining = [replace(part, deliveries=deliveries), *remaining]
            continue
        except OtherSettingsError as error:
            remaining = [*_split_into_singles(part, error.settings), *remaining]
            continue
        except Exception as error:
            is_of_all = isinstance(error, _UNRECORDABLE)
            if isinstance(error, BucketUnreachableError):
                if warehouse.is_shadow:  # It would lack deliveries that are not lost.
                    raise
                is_of_all = not error.permanent
            if len(part.deliveries) > 1 and not is_of_all:
                log.warning("A batch failed; merging its deliveries one by one", exc_info=True)
                remaining = [*_split_into_singles(part), *remaining]
                continue
            batch = [
                _failed(delivery, error, raw_zone, warehouse, log) for delivery in part.deliveries
            ]
        if not warehouse.is_shadow:
            conclude(batch, raw_zone, part.settings, warehouse, log)
        for result in batch:
            warnings = delivery_warnings(
                result.delivery, result.account, raw_zone, settings.inbox_place
            )
            results.append(replace(result, warnings=warnings))
    return results


def _split_batch(part: _Part, raw_zone: RawZone) -> list[_Part]:
    """Split off the deliveries that must be merged alone; the others stay together.

    A file that crashed a reader may fail, and take long to fail. Deletions and reversals are merged
    in other ways.
    """
    crashed = crashed_digests(part.settings.work_dir)
    alone: list[Delivery] = []
    together: list[Delivery] = []
    for delivery in part.deliveries:
        is_reverted = raw_zone.desired.is_reverted(delivery.raw_name)
        is_other = delivery.kind is Kind.DELETION or is_reverted
        (alone if is_other or delivery.sha256 in crashed else together).append(delivery)
    parts = [[delivery] for delivery in alone] + ([together] if together else [])
    return [replace(part, deliveries=deliveries) for deliveries in parts]


def _split_into_singles(part: _Part, settings: Settings | None = None) -> list[_Part]:
    """Return a part for each delivery. A delivery that is alone already gets other settings."""
    if settings is None or len(part.deliveries) > 1:
        settings = part.settings
    return [_Part([delivery], settings) for delivery in part.deliveries]


def conclude(
    results: Sequence[IngestResult],
    raw_zone: RawZone,
    settings: Settings,
    warehouse: Backend,
    log: logging.Logger,
) -> None:
    """Revert the unfinished uploads that merged deliveries complete, and write status notes.

    The status note of a delivery is written last. If a process dies before, the next run concludes
    the delivery.
    """
    for result in results:
        delivery, status = result.delivery, result.account.status
        if status is Status.FAILED or result.database_id is None:
            continue
        if status is Status.MERGED:
            try:
                _revert_unfinished(delivery, raw_zone, settings, warehouse, log)
            except (*_UNRECORDABLE, OSError) as error:
                log.warning(
                    "%s is not reverted yet: %s. The next run tries again.",
                    delivery.completes,
                    user_message(error).rstrip("."),
                )
                continue
        # Without a note, the next run reconciles a delivery whose desired state has changed.
        if raw_zone.desired.state_of(delivery, status).is_reconciled:
            name, id_ = delivery.raw_name, result.database_id
            try_to_write_status_note(raw_zone.notes, name, status, id_, log)


def _revert_unfinished(
    delivery: Delivery,
    raw_zone: RawZone,
    settings: Settings,
    warehouse: Backend,
    log: logging.Logger,
) -> None:
    """Revert the unfinished upload that a merged delivery completes, as revert_delivery would.

    That happens once, even if the database is rebuilt later: people may have reinstated the upload
    since.
    """
    desired, notes = raw_zone.desired, raw_zone.notes
    if delivery.completes is None or notes.last_status(delivery.raw_name) == Status.MERGED:
        return
    try:
        unfinished = raw_zone.find(delivery.completes)
    except LandingError:  # The upload is gone.
        return
    if desired.is_reverted(unfinished.raw_name):
        return
    try:
        with checked_reversal(unfinished, raw_zone, settings, warehouse, log):
            desired.mark_reverted(unfinished.raw_name)
        (reverted,) = ingest([unfinished], raw_zone, settings, warehouse, log)
        if reverted.account.status is Status.FAILED and not reverted.busy:
            # Nobody requested it, so it must not block runs.
            desired.clear_reverted(unfinished.raw_name)
            raise OperationRefusedError(reverted.account.error)
        log.warning(
            "%s was an unfinished upload: %s begins with its bytes and continues its last record. "
            "%s.",
            unfinished.delivery_id,
            delivery.delivery_id,
            "The next run reverts it" if reverted.busy else "It is reverted",
        )
    except _UNRECORDABLE:
        raise
    except (LfpError, duckdb.Error) as error:
        log.warning(
            "%s is an unfinished upload, and is not reverted: %s To revert it, run `lfp revert`.",
            unfinished.delivery_id,
            error,
        )


def _failed(
    delivery: Delivery,
    error: Exception,
    raw_zone: RawZone,
    warehouse: Backend,
    log: logging.Logger,
) -> IngestResult:
    """Return the result of a delivery that failed, after recording the failure if possible."""
    failed = LedgerEntry(delivery.delivery_id, Status.FAILED, error=user_message(error))
    if isinstance(error, _UNRECORDABLE):
        return IngestResult(delivery, failed, busy=isinstance(error, WarehouseBusyError))
    if not isinstance(error, LfpError) and not hint_for(error):
        log.error("%s failed", delivery.label, exc_info=error)
    if raw_zone.desired.is_reverted(delivery.raw_name):
        # The ledger goes on saying that the delivery is merged.
        return IngestResult(delivery, replace(failed, error=f"It is not reverted. {failed.error}"))
    try:
        with warehouse.session("recording a failure", log) as connection:
            failed = record_unmerged(connection, delivery, Status.FAILED, user_message(error))
    except (LfpError, duckdb.Error, OSError) as ledger_error:
        log.warning("The ledger could not record the failure: %s", user_message(ledger_error))
    return IngestResult(delivery, failed)


def try_to_write_status_note(
    notes: StatusNotes, name: RawName, status: Status, database_id: str, log: logging.Logger
) -> None:
    """Write the status note of a delivery; without one, the next run looks it up in the ledger."""
    try:
        notes.write(name, status, database_id)
    except (OSError, CatalogUnreachableError) as error:
        log.warning("The status note of %s could not be written: %s", name.delivery_id, error)
