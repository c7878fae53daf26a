"""Reconcile a batch of deliveries: read and merge, load directly, reassign, delete or revert."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lfp_pipeline.common.duckdb_tools import checkpoint
from lfp_pipeline.common.progress import Progress, heartbeat
from lfp_pipeline.common.text import printable, size_in_bytes
from lfp_pipeline.errors import (
    DeliveryRefusedError,
    LfpError,
    WarehouseBusyError,
    user_message,
)
from lfp_pipeline.ingest.batch_in_workspace import BatchInWorkspace
from lfp_pipeline.ingest.delivery_warnings import refusal_text
from lfp_pipeline.ingest.result import (
    DesiredStateChangedError,
    IngestResult,
)
from lfp_pipeline.ingest.revert import revert
from lfp_pipeline.model.delivery import Delivery, Kind, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.comparison import Comparison, compare
from lfp_pipeline.reading.crash_guard import (
    marking_in_progress,
)
from lfp_pipeline.reading.options import Conditions
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, clear_staging, read_delivery
from lfp_pipeline.reading.staging import stage_in_batch, stage_single
from lfp_pipeline.reading.workspace import WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse import delta_load, direct_load
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.deletions import merge_deletion
from lfp_pipeline.warehouse.delta_load import KeptRows
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.merge import StagedDelivery, merge
from lfp_pipeline.warehouse.redelivery import reassign_rows

_BASE_SECONDS = 5.0
"""Longest wait for the lock before a comparison; if it takes longer, the file is read in full."""


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
            results = (
                work.reassign_rows()
                or work.load_delta()
                or work.load_directly()
                or work.read_and_merge()
            )
    seconds = time.perf_counter() - started
    return [replace(result, seconds=seconds) for result in results]


@dataclass(frozen=True)
class _BatchMerge(BatchInWorkspace):
    """The ways to reconcile a batch.

    Each public method here is one. It returns a result for each delivery of the batch; an empty
    list means that the way does not suit this batch.
    """

    def revert(self) -> list[IngestResult]:
        """Revert the delivery."""
        (delivery,) = self.batch
        with self.attached(self.warehouse, "reverting") as before:
            zone, is_shadow = self.raw_zone, self.warehouse.is_shadow
            entry = revert(
                delivery, zone, self.workspace, self.settings, self.log, is_shadow=is_shadow
            )
            return self.results([entry], before)

    def delete(self) -> list[IngestResult]:
        """Delete the skus that the deletion lists."""
        (delivery,), connection = self.batch, self.workspace.connection
        with (
            self.raw_zone.verified(delivery),
            self.attached(self.warehouse, "deleting by") as before,
        ):
            return self.results([merge_deletion(connection, delivery, self.started)], before)

    def reassign_rows(self) -> list[IngestResult]:
        """Reassign the rows of an earlier delivery with the same bytes, without reading them."""
        delivery, *others = self.batch
        if others or not self.raw_zone.has_duplicate(delivery):
            return []
        connection = self.workspace.connection
        with suppress(WarehouseBusyError), self.attached(self.warehouse.waiting(0)) as before:
            read_with = Conditions.of(self.options, delivery.text_format)
            entry = reassign_rows(connection, delivery, read_with, self.started, self.log)
            if entry is not None:
                return self.results([entry], before)
        return []

    def load_delta(self) -> list[IngestResult]:
        """Read only the records that an earlier delivery of the same file lacks."""
        delivery, *others = self.batch
        # A lake writes rows again to move them, which takes as long as to read them. A rebuild is
        # independent of earlier merges only if it reads each file in full.
        suits = self.warehouse.keeps_row_order and not self.warehouse.is_shadow
        is_large = delivery.size_bytes >= delta_load.LEAST_BYTES
        if others or delivery.sha256 in self.crashed or not (suits and is_large):
            return []
        read_with = Conditions.of(self.options, delivery.text_format)
        connection, base = self.workspace.connection, None
        warehouse = self.warehouse.waiting(_BASE_SECONDS)
        with suppress(WarehouseBusyError), self.attached(warehouse, "comparing"):
            memory_bytes = size_in_bytes(self.limits.memory_limit)
            base = delta_load.find_base(connection, delivery, read_with, memory_bytes)
        earlier = self.raw_zone.find(base) if base and self.raw_zone.keeps(base) else None
        if base is None or earlier is None:
            return []
        texts: Sequence[PlainText] = ()
        try:
            texts = self.single_texts
        except DeliveryRefusedError as error:
            return self._refuse(refusal_text(error, delivery, texts, self.settings))
        with self.workspace.folder_for(0) as folder:
            comparison = self._comparison(earlier, texts, folder)
            return self._load_delta(base, comparison, folder) if comparison else []

    def _comparison(
        self, earlier: Delivery, texts: Sequence[PlainText], folder: Path
    ) -> Comparison | None:
        """Compare a text with that of an earlier delivery; if that fails, do without."""
        (delivery,) = self.batch
        message = f"comparing {delivery.label} with {earlier.label}: {{:.0f}} s so far".format
        progress = Progress(delivery.partition_key, "comparing", 0, delivery.size_bytes)
        try:
            self.held.enter_context(self.raw_zone.verified(earlier))
            with (
                marking_in_progress(self.batch, self.settings.work_dir),
                heartbeat(self.log, message, lambda: progress),
            ):
                earlier_texts = plain_texts(earlier, folder, self.options)
                if len(texts) > 1 or len(earlier_texts) > 1:
                    return None
                return compare(earlier_texts[0], texts[0], self.options)
        except (LfpError, OSError, MemoryError) as error:
            self.log.warning("%s is read in full: %s", delivery.label, user_message(error))
            return None

    def _load_delta(self, base: str, comparison: Comparison, folder: Path) -> list[IngestResult]:
        connection, (delivery,) = self.workspace.connection, self.batch
        with self.attached(self.warehouse) as before:
            with marking_in_progress(self.batch, self.settings.work_dir):
                loaded = delta_load.load_delta(
                    connection, delivery, base, comparison, self.options, folder
                )
            if loaded is None:
                delta_load.drop_delta(connection)
                return []
            reading, kept = loaded
            for note in reading.notes:
                self.log.warning("%s: %s", delivery.partition_key, printable(note))
            message = "%s keeps %d products of %s; the other records were read"
            self.log.info(message, delivery.label, kept.winners, label_of(base))
            stage_single(connection, taken=True)
            return self._merge([self._staged(delivery, reading)], before, kept=kept)

    def load_directly(self) -> list[IngestResult]:
        """Load a large file directly into the warehouse."""
        delivery, *others = self.batch
        suits = self.warehouse.keeps_row_order and delivery.size_bytes >= direct_load.LEAST_BYTES
        crashed = delivery.sha256 in self.crashed  # The trial read tries another way.
        if others or crashed or not suits:
            return []
        texts: Sequence[PlainText] = ()
        try:
            texts = self.single_texts
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
        with self.attached(warehouse, "loading") as before:
            entry = before.get(delivery.delivery_id)
            if entry is not None and entry.status is Status.MERGED:
                return self.results([entry], before)
            if only_if_empty and product_count(connection):
                return []
            try:
                with marking_in_progress(self.batch, self.settings.work_dir):
                    reading = direct_load.load_directly(connection, delivery, text, self.options)
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
        with self.attached(self.warehouse) as before:
            return self._merge([self._staged(self.batch[0], None, refusal)], before)

    def read_and_merge(self) -> list[IngestResult]:
        """Read the batch into the workspace without a lock, then merge it. Suits every batch."""
        with marking_in_progress(self.batch, self.settings.work_dir):
            staged = [self._read(number) for number in range(len(self.batch))]
        with self.attached(self.warehouse) as before:
            return self._merge(staged, before)

    def _read(self, number: int) -> StagedDelivery:
        delivery, connection = self.batch[number], self.workspace.connection
        alone = len(self.batch) == 1
        reading, refusal = None, None
        texts: Sequence[PlainText] = ()
        with self.workspace.folder_for(number) as folder, ExitStack() as held:
            try:
                texts = self.single_texts if alone else self.texts(delivery, folder, held)
                reading = read_delivery(delivery, texts, connection, folder, self.options, self.log)
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
        read_with = Conditions.of(self.options, delivery.text_format)
        return StagedDelivery(delivery, reading, read_with, refusal)

    def _merge(
        self,
        staged: Sequence[StagedDelivery],
        before: Mapping[str, LedgerEntry],
        *,
        directly_loaded: bool = False,
        kept: KeptRows | None = None,
    ) -> list[IngestResult]:
        connection = self.workspace.connection
        entries = merge(
            connection, staged, self.started, directly_loaded=directly_loaded, kept=kept
        )
        return [
            replace(result, reading=delivery.reading)
            for result, delivery in zip(self.results(entries, before), staged, strict=True)
        ]
