"""Deliveries on their way from the raw zone into the tables: read, merged or refused, told."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
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
from lfp_pipeline.raw_zone.desired_state import clear_reverted, is_reverted, mark_reverted
from lfp_pipeline.raw_zone.raw_zone import RawZone, as_recorded
from lfp_pipeline.raw_zone.status_notes import MERGED, last_recorded_status, write_status_note
from lfp_pipeline.reading.crash_guard import crashed_digests
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.merge import note_unmerged


def ingest(
    deliveries: Sequence[Delivery],
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    *,
    workers: int = 1,
) -> list[IngestResult]:
    """Read deliveries and merge them together; whatever goes wrong with one ends in its account.

    Where something goes wrong that is not a delivery's own fault, they are merged one by one.

    Args:
        deliveries: in the raw zone, at least one.
        settings: limits, rules, waiting times.
        warehouse: to merge into.
        log: for progress and tracebacks.
        workers: with how many others they share this run's threads and memory.
    """
    once = {one.delivery_id: one for one in deliveries}.values()
    batch = sorted(once, key=lambda one: one.order_key)
    parts = _parts(batch, crashed_digests(settings.work_dir))
    if len(parts) > 1:
        return [
            found
            for part in parts
            for found in ingest(part, settings, warehouse, log, workers=workers)
        ]
    try:
        ingested = reconcile_batch(batch, settings, warehouse, log, workers)
    except DesiredStateChangedError:
        return ingest(list(map(as_recorded, batch)), settings, warehouse, log, workers=workers)
    except OtherSettingsError as error:
        settings = error.settings if len(batch) == 1 else settings
        return [
            found
            for one in batch
            for found in ingest([one], settings, warehouse, log, workers=workers)
        ]
    except (WarehouseBusyError, WarehouseCorruptError) as error:
        # There is no writing that into the ledger.
        busy = isinstance(error, WarehouseBusyError)
        ingested = [
            IngestResult(
                one, LedgerEntry(one.delivery_id, Status.FAILED, error=str(error)), busy=busy
            )
            for one in batch
        ]
    except Exception as error:
        if len(batch) > 1:
            log.warning("Merged one by one, because together they failed", exc_info=True)
            return [
                found
                for one in batch
                for found in ingest([one], settings, warehouse, log, workers=workers)
            ]
        if not isinstance(error, LfpError) and not hint_for(error):
            log.exception("%s failed", batch[0].delivery_id)
        ingested = [IngestResult(batch[0], _note_failure(batch[0], error, warehouse, log))]
    if not warehouse.is_shadow:
        conclude(ingested, settings, warehouse, log)
    raw_zone, inbox = RawZone(settings.raw_dir), settings.inbox_dir
    return [
        replace(one, warnings=delivery_warnings(one.delivery, one.account, raw_zone, inbox))
        for one in ingested
    ]


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
        if (one.account.status is Status.REVERTED) == is_reverted(one.delivery.path):
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


def _parts(batch: Sequence[Delivery], died: Collection[str]) -> Sequence[Sequence[Delivery]]:
    """Cut a batch into what goes together, and each delivery that is to go alone."""
    alone = [
        one
        for one in batch
        # What a reader died of may fail, and take long to.
        if one.sha256 in died or one.kind is Kind.DELETION or is_reverted(one.path)
    ]
    together = [one for one in batch if one not in alone]
    return [[one] for one in alone] + ([together] if together else [])


def _note_failure(
    delivery: Delivery, error: Exception, warehouse: Warehouse, log: logging.Logger
) -> LedgerEntry:
    """Write into the ledger why a delivery was not merged, if the ledger can be had."""
    if is_reverted(delivery.path):  # It is in, as its ledger row says, and should be out.
        return LedgerEntry(
            delivery.delivery_id, Status.FAILED, error=f"It is not out. {user_message(error)}"
        )
    try:
        with warehouse.session("noting a failure", log) as connection:
            return note_unmerged(connection, delivery, Status.FAILED, user_message(error))
    except (LfpError, duckdb.Error, OSError) as ledger_error:
        log.warning("The failure could not be noted in the ledger: %s", user_message(ledger_error))
        return LedgerEntry(delivery.delivery_id, Status.FAILED, error=user_message(error))


def try_to_write_status_note(
    raw: Path, status: Status, database_id: str, log: logging.Logger
) -> None:
    """Note what became of a delivery; where that fails, it is offered once more."""
    try:
        write_status_note(raw, status, database_id)
    except OSError as error:  # The ledger knows.
        log.warning("The outcome of %s could not be noted: %s", raw, error)
