"""Reconcile a batch of deliveries: read and merge, load directly, reassign, delete or revert."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lfp_pipeline.common.duckdb_tools import checkpoint, transaction
from lfp_pipeline.common.progress import Progress, announce, heartbeat
from lfp_pipeline.common.text import preview, printable, size_in_bytes
from lfp_pipeline.errors import DeliveryRefusedError, OperationRefusedError, WarehouseBusyError
from lfp_pipeline.ingest.delivery_warnings import refusal_text
from lfp_pipeline.ingest.result import (
    DesiredStateChangedError,
    IngestResult,
    OtherSettingsError,
)
from lfp_pipeline.ingest.revert import revert
from lfp_pipeline.model.delivery import Delivery, Kind, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.crash_guard import (
    crashed_digests,
    marking_in_progress,
    trial_read_if_crashed,
)
from lfp_pipeline.reading.options import Conditions, ReadOptions, reread
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, clear_staging, read_delivery
from lfp_pipeline.reading.staging import stage_in_batch, stage_single
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.deletions import merge_deletion
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entries
from lfp_pipeline.warehouse.merge import StagedDelivery, merge
from lfp_pipeline.warehouse.redelivery import reassign_rows
from lfp_pipeline.warehouse.schema import database_id


def reconcile_batch(
    batch: Sequence[Delivery],
    raw_zone: RawZone,
    settings: Settings,
    warehouse: Backend,
    log: logging.Logger,
    workers: int,
) -> list[IngestResult]:
    """Bring the deliveries of a batch into their desired state in a warehouse.

    Args:
        batch: oldest first; a deletion or a reverted delivery alone.
        workers: number of batches that share the threads and memory of this process.

    Raises:
        DesiredStateChangedError: the desired state of a delivery has changed meanwhile.
        OtherSettingsError: a delivery must be read with other settings.
        LfpError: the batch could not be reconciled. Nothing was changed.
        duckdb.Error: likewise.
    """
    started = time.perf_counter()
    limits = WorkspaceLimits.of(settings, workers)
    with workspace_of(settings, limits, warehouse) as workspace, ExitStack() as held:
        reverts = raw_zone.desired.is_reverted(batch[0].raw_name)
        if reverts and len(batch) > 1:
            raise DesiredStateChangedError
        work = _BatchMerge(
            batch, reverts, raw_zone, workspace, held, limits, settings, warehouse, log, started
        )
        if reverts:
            results = work.revert()
        elif batch[0].kind is Kind.DELETION:
            results = work.delete()
        else:
            results = work.reassign_rows() or work.load_directly() or work.read_and_merge()
    seconds = time.perf_counter() - started
    return [replace(result, seconds=seconds) for result in results]


@dataclass(frozen=True)
class _BatchMerge:
    """A batch in its workspace, and the ways to reconcile it.

    Each public method is one way. It returns a result for each delivery of the batch; an empty list
    means that the way does not suit this batch.

    Attributes:
        reverts: whether the batch is a single delivery whose desired state is reverted.
        held: keeps the bytes of a single delivery while it is read.
        started: begin of the work, by `time.perf_counter`.
    """

    batch: Sequence[Delivery]
    reverts: bool
    raw_zone: RawZone
    workspace: Workspace
    held: ExitStack
    limits: WorkspaceLimits
    settings: Settings
    warehouse: Backend
    log: logging.Logger
    started: float

    def revert(self) -> list[IngestResult]:
        """Revert the delivery."""
        (delivery,) = self.batch
        with self._attached(self.warehouse, "reverting") as before:
            zone, is_shadow = self.raw_zone, self.warehouse.is_shadow
            entry = revert(
                delivery, zone, self.workspace, self.settings, self.log, is_shadow=is_shadow
            )
            return self._results([entry], before)

    def delete(self) -> list[IngestResult]:
        """Delete the skus that the deletion lists."""
        (delivery,), connection = self.batch, self.workspace.connection
        with (
            self.raw_zone.verified(delivery),
            self._attached(self.warehouse, "deleting by") as before,
        ):
            return self._results([merge_deletion(connection, delivery, self.started)], before)

    def reassign_rows(self) -> list[IngestResult]:
        """Reassign the rows of an earlier delivery with the same bytes, without reading them."""
        delivery, *others = self.batch
        if others or not self.raw_zone.has_duplicate(delivery):
            return []
        connection = self.workspace.connection
        with suppress(WarehouseBusyError), self._attached(self.warehouse.waiting(0)) as before:
            read_with = Conditions.of(self._options, delivery.text_format)
            entry = reassign_rows(connection, delivery, read_with, self.started, self.log)
            if entry is not None:
                return self._results([entry], before)
        return []

    def load_directly(self) -> list[IngestResult]:
        """Load a large file directly into the warehouse."""
        delivery, *others = self.batch
        suits = self.warehouse.keeps_row_order and delivery.size_bytes >= direct_load.LEAST_BYTES
        crashed = delivery.sha256 in self._crashed  # The trial read tries another way.
        if others or crashed or not suits:
            return []
        texts: Sequence[PlainText] = ()
        try:
            texts = self._single_texts
            text, *more = texts
            size = text.path.stat().st_size
            memory_bytes = size_in_bytes(self.limits.memory_limit)
            if more or not direct_load.should_load_directly(
                size, self.warehouse.size_bytes, memory_bytes
            ):
                return []
            if size >= memory_bytes // 4:
                return self._load(text, self.warehouse)
            # While another process holds the lock, reading this file first saves time.
            with suppress(WarehouseBusyError):
                return self._load(text, self.warehouse.waiting(0), only_if_empty=True)
        except DeliveryRefusedError as error:
            return self._refuse(refusal_text(error, delivery, texts, self.settings))
        return []

    def _load(
        self, text: PlainText, warehouse: Backend, *, only_if_empty: bool = False
    ) -> list[IngestResult]:
        connection, (delivery,) = self.workspace.connection, self.batch
        with self._attached(warehouse, "loading") as before:
            entry = before.get(delivery.delivery_id)
            if entry is not None and entry.status is Status.MERGED:
                return self._results([entry], before)
            if only_if_empty and product_count(connection):
                return []
            try:
                with marking_in_progress(self.batch, self.settings.work_dir):
                    reading = direct_load.load_directly(connection, delivery, text, self._options)
                if reading is None:
                    return []
                for note in reading.notes:
                    self.log.warning("%s: %s", delivery.partition_key, printable(note))
                stage_single(connection, taken=True)
                staged = self._staged(delivery, reading)
                results = self._merge([staged], before, directly_loaded=True)
            finally:
                direct_load.drop_loaded_table(connection)
            checkpoint(connection, self.log)
            return results

    def _refuse(self, refusal: str) -> list[IngestResult]:
        connection = self.workspace.connection
        clear_staging(connection)
        stage_single(connection, taken=False)
        with self._attached(self.warehouse) as before:
            return self._merge([self._staged(self.batch[0], None, refusal)], before)

    def read_and_merge(self) -> list[IngestResult]:
        """Read the batch into the workspace without a lock, then merge it. Suits every batch."""
        with marking_in_progress(self.batch, self.settings.work_dir):
            staged = [self._read(number) for number in range(len(self.batch))]
        with self._attached(self.warehouse) as before:
            return self._merge(staged, before)

    def _read(self, number: int) -> StagedDelivery:
        delivery, connection = self.batch[number], self.workspace.connection
        alone = len(self.batch) == 1
        reading, refusal = None, None
        texts: Sequence[PlainText] = ()
        with self.workspace.folder_for(number) as folder, ExitStack() as held:
            try:
                texts = self._single_texts if alone else self._texts(delivery, folder, held)
                reading = read_delivery(
                    delivery, texts, connection, folder, self._options, self.log
                )
                check_reject_share(reading, self.settings.max_reject_share)
            except DeliveryRefusedError as error:
                refusal = refusal_text(error, delivery, texts, self.settings)
                if reading is None:
                    clear_staging(connection)
        if alone:
            stage_single(connection, taken=refusal is None)
        else:
            stage_in_batch(connection, number, taken=refusal is None)
        return self._staged(delivery, reading, refusal)

    def _staged(
        self, delivery: Delivery, reading: Reading | None, refusal: str | None = None
    ) -> StagedDelivery:
        read_with = Conditions.of(self._options, delivery.text_format)
        return StagedDelivery(delivery, reading, read_with, refusal)

    def _merge(
        self,
        staged: Sequence[StagedDelivery],
        before: Mapping[str, LedgerEntry],
        *,
        directly_loaded: bool = False,
    ) -> list[IngestResult]:
        connection = self.workspace.connection
        entries = merge(connection, staged, self.started, directly_loaded=directly_loaded)
        return [
            replace(result, reading=delivery.reading)
            for result, delivery in zip(self._results(entries, before), staged, strict=True)
        ]

    def _results(
        self, entries: Sequence[LedgerEntry], before: Mapping[str, LedgerEntry]
    ) -> list[IngestResult]:
        connection = self.workspace.connection
        with transaction(connection):
            products, id_ = product_count(connection), database_id(connection)
        return [
            IngestResult(
                delivery,
                entry,
                None,
                products,
                batch=len(self.batch),
                database_id=id_,
                merged_here=entry.status is Status.MERGED
                and entry != before.get(delivery.delivery_id),
            )
            for delivery, entry in zip(self.batch, entries, strict=True)
        ]

    @cached_property
    def _single_texts(self) -> Sequence[PlainText]:
        """The texts of a delivery that is alone in its batch, unpacked once for all ways."""
        with marking_in_progress(self.batch, self.settings.work_dir):
            return self._texts(self.batch[0], self.workspace.folder, self.held)

    def _texts(self, delivery: Delivery, folder: Path, held: ExitStack) -> Sequence[PlainText]:
        """Verify and unpack a delivery, as every way of reading begins, and hold its bytes."""
        held.enter_context(self.raw_zone.verified(delivery))
        if delivery.sha256 in self._crashed:
            work_dir = self.settings.work_dir
            trial_read_if_crashed(delivery, self.limits, self._options, work_dir, self.log)
        return plain_texts(delivery, folder, self._options)

    @cached_property
    def _options(self) -> ReadOptions:
        return ReadOptions.of(self.settings)

    @cached_property
    def _crashed(self) -> frozenset[str]:
        """The digests of the files that had crashed a reader when this batch began."""
        return crashed_digests(self.settings.work_dir)

    @contextmanager
    def _attached(
        self, warehouse: Backend, work: str = "merging"
    ) -> Iterator[Mapping[str, LedgerEntry]]:
        """Attach the warehouse behind the writer lock; yield the batch's ledger entries by id.

        Raise the errors of `reconcile_batch` if the batch has to be reconciled in another way.
        """
        ids = [delivery.delivery_id for delivery in self.batch]
        purpose = f"{work} {preview([delivery.label for delivery in self.batch], limit=1)}"
        connection, first = self.workspace.connection, self.batch[0]

        def measure() -> Progress:
            done = max(connection.query_progress(), 0) * first.size_bytes / 100
            return Progress(first.partition_key, work, int(done), first.size_bytes)

        message = f"{purpose}: {{:.0f}} s so far".format
        with (
            warehouse.attached(connection, purpose, self.log),
            heartbeat(self.log, message, measure),
        ):
            for delivery in self.batch[1:]:
                announce(Progress(delivery.partition_key, work))
            # A change is marked in the raw zone before its process asks for the lock. So the last
            # holder of the lock sees the latest change.
            for delivery in self.batch:
                reverts = self.raw_zone.desired.is_reverted(delivery.raw_name)
                recorded = self.raw_zone.records.as_recorded(delivery)
                if reverts != self.reverts or recorded != delivery:
                    raise DesiredStateChangedError
            before = entries(connection, ids)
            if not self.reverts:
                for entry in before.values():
                    self._require_settings(entry)
            yield before

    def _require_settings(self, entry: LedgerEntry) -> None:
        """Raise if a delivery that was merged before is about to be read with other settings.

        A text format that its source has given since counts all the same.
        """
        if entry.status is Status.MERGED or entry.read_conditions is None:
            return
        way = reread(entry.read_with, entry.read_conditions, None, self.settings)
        if way.differences:
            msg = (
                f"{label_of(entry.delivery_id)} was merged before, and cannot be read as it was "
                f"then: {'; '.join(way.differences)}. Restore what has changed; or run `lfp "
                "revert` for it, and then `lfp reinstate --use-present-settings`."
            )
            raise OperationRefusedError(msg)
        if way.settings is not self.settings:
            raise OtherSettingsError(way.settings)
