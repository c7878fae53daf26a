"""A batch of deliveries in its workspace: read and merged, loaded, moved, or taken out."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lfp_pipeline.common.duckdb_tools import checkpoint
from lfp_pipeline.common.progress import heartbeat
from lfp_pipeline.common.text import preview, printable, size_in_bytes
from lfp_pipeline.errors import (
    DeliveryRefusedError,
    NoHeaderError,
    OperationRefusedError,
    SettingsError,
    TooManyRejectsError,
    WarehouseBusyError,
)
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.ingest.revert import revert
from lfp_pipeline.model.delivery import Delivery, Kind
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.desired_state import is_reverted
from lfp_pipeline.raw_zone.integrity import verify_raw_file
from lfp_pipeline.raw_zone.raw_zone import RawZone, as_recorded
from lfp_pipeline.reading.crash_guard import (
    crashed_digests,
    marking_in_progress,
    trial_read_if_crashed,
)
from lfp_pipeline.reading.likely_encoding import encoding_hint
from lfp_pipeline.reading.options import Conditions, reread
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.reading.reader import Reading, check_reject_share, clear_staging, read_delivery
from lfp_pipeline.reading.reject_reasons import INVALID_ENCODING
from lfp_pipeline.reading.staging import stage_in_batch, stage_single
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits, workspace_of
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.sources_file import read_sources
from lfp_pipeline.warehouse import direct_load
from lfp_pipeline.warehouse.deletions import merge_deletion
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import accounts
from lfp_pipeline.warehouse.merge import StagedDelivery, merge
from lfp_pipeline.warehouse.redelivery import reassign_rows
from lfp_pipeline.warehouse.schema import database_id


class DesiredStateChangedError(Exception):
    """A delivery was reverted or reinstated meanwhile, or its source says another text format."""


class OtherSettingsError(Exception):
    """A delivery that was merged before is to be read with the settings of then.

    Attributes:
        settings: those.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


def reconcile_batch(
    batch: Sequence[Delivery],
    settings: Settings,
    warehouse: Warehouse,
    log: logging.Logger,
    workers: int,
) -> list[IngestResult]:
    """Have the warehouse follow what the raw zone says of a batch.

    Args:
        batch: oldest first; a deletion, or what is to be as if it had never come, alone.
        settings: limits, rules, waiting times.
        warehouse: to merge into.
        log: for progress.
        workers: with how many others this shares its run's threads and memory.

    Raises:
        MindChangedError: meanwhile, it is to be taken in or out in another way.
        OtherSettingsError: one of it is to be read with other settings.
        LfpError: it could not be done, and why. Nothing was changed.
        duckdb.Error: likewise.
    """
    started = time.perf_counter()
    limits = WorkspaceLimits.of(settings, workers)
    with workspace_of(settings, limits) as workspace:
        is_out = is_reverted(batch[0].path)
        if is_out and len(batch) > 1:
            raise DesiredStateChangedError
        work = _BatchMerge(batch, is_out, workspace, limits, settings, warehouse, log, started)
        if is_out:
            done = work.revert()
        elif batch[0].kind is Kind.DELETION:
            done = work.delete()
        else:
            done = work.reassign_rows() or work.load_directly() or work.read_and_merge()
    seconds = time.perf_counter() - started
    return [replace(ingested, seconds=seconds) for ingested in done]


def is_reconciled(delivery: Delivery, status: str | None) -> bool:
    """Whether a delivery that the ledger says this of, if anything, is in or out as is wanted."""
    if status is None or status == Status.FAILED:
        return False
    return (status == Status.REVERTED) == is_reverted(delivery.path)


@dataclass(frozen=True)
class _BatchMerge:
    """A batch in its workspace, and the ways in which it may be merged.

    Each way returns what became of the batch, or nothing, if it is not the way for this batch.

    Attributes:
        is_out: whether the batch is one delivery that is to be as if it had never come.
        started: when the work began, by `time.perf_counter`.
    """

    batch: Sequence[Delivery]
    is_out: bool
    workspace: Workspace
    limits: WorkspaceLimits
    settings: Settings
    warehouse: Warehouse
    log: logging.Logger
    started: float

    def revert(self) -> list[IngestResult]:
        """Take a delivery out, and what it had replaced in."""
        (delivery,) = self.batch
        with self._attached(self.warehouse, "reverting") as known:
            is_shadow = self.warehouse.is_shadow
            account = revert(delivery, self.workspace, self.settings, self.log, is_shadow=is_shadow)
            return self._done([account], known)

    def delete(self) -> list[IngestResult]:
        """Delete what a deletion says."""
        (delivery,), connection = self.batch, self.workspace.connection
        verify_raw_file(delivery)
        with self._attached(self.warehouse, "deleting by") as known:
            return self._done([merge_deletion(connection, delivery, self.started)], known)

    def reassign_rows(self) -> list[IngestResult]:
        """Bytes that were there before are not read again."""
        delivery, *others = self.batch
        if others or not RawZone(self.settings.raw_dir).has_duplicate(delivery):
            return []
        connection = self.workspace.connection
        with suppress(WarehouseBusyError), self._attached(self.warehouse.without_waiting) as known:
            read_with = Conditions.of(self.settings, delivery.text_format)
            account = reassign_rows(connection, delivery, read_with, self.started, self.log)
            if account is not None:
                return self._done([account], known)
        return []

    def load_directly(self) -> list[IngestResult]:
        """A large file goes straight into the warehouse."""
        delivery, *others = self.batch
        small = delivery.size_bytes < direct_load.LEAST_BYTES
        if others or small or self._is_suspect(delivery):  # The rehearsal is of another way.
            return []
        texts: Sequence[PlainText] = ()
        try:
            texts = self._lone_texts
            text, *more = texts
            size = text.path.stat().st_size
            memory_bytes = size_in_bytes(self.limits.memory_limit)
            if more or not direct_load.should_load_directly(
                size, self.warehouse.size_bytes, memory_bytes
            ):
                return []
            if size >= memory_bytes // 4:
                return self._load(text, self.warehouse)
            # Is somebody else at it? Then this file is better read meanwhile than after.
            with suppress(WarehouseBusyError):
                return self._load(text, self.warehouse.without_waiting, only_if_empty=True)
        except DeliveryRefusedError as error:
            return self._refuse(self._told(error, delivery, texts))
        return []

    def _load(
        self, text: PlainText, warehouse: Warehouse, *, only_if_empty: bool = False
    ) -> list[IngestResult]:
        connection, (delivery,) = self.workspace.connection, self.batch
        with self._attached(warehouse, "loading") as known:
            account = known.get(delivery.delivery_id)
            if account is not None and account.status is Status.MERGED:
                return self._done([account], known)
            if only_if_empty and product_count(connection):
                return []
            try:
                with marking_in_progress(self.batch, self.settings):
                    reading = direct_load.load_directly(connection, delivery, text, self.settings)
                if reading is None:
                    return []
                for note in reading.notes:
                    self.log.warning("%s: %s", delivery.partition_key, printable(note))
                stage_single(connection, taken=True)
                done = self._merge([self._arrived(delivery, reading)], known, loaded=True)
            finally:
                direct_load.drop_loaded_table(connection)
            checkpoint(connection, "warehouse", self.log)
            return done

    def _refuse(self, refusal: str) -> list[IngestResult]:
        connection = self.workspace.connection
        clear_staging(connection)
        stage_single(connection, taken=False)
        with self._attached(self.warehouse) as known:
            return self._merge([self._arrived(self.batch[0], None, refusal)], known)

    def read_and_merge(self) -> list[IngestResult]:
        """Whatever it is: read into the workspace without a lock, then merged."""
        with marking_in_progress(self.batch, self.settings):
            arrived = [self._arrive(number) for number in range(len(self.batch))]
        with self._attached(self.warehouse) as known:
            return self._merge(arrived, known)

    def _arrive(self, number: int) -> StagedDelivery:
        """Read one delivery, and add it to the arrivals."""
        delivery, connection = self.batch[number], self.workspace.connection
        alone = len(self.batch) == 1
        reading, refusal = None, None
        texts: Sequence[PlainText] = ()
        with self.workspace.folder_for(number) as folder:
            try:
                texts = self._lone_texts if alone else self._texts(delivery, folder)
                reading = read_delivery(
                    delivery, texts, connection, folder, self.settings, self.log
                )
                check_reject_share(reading, self.settings)
            except DeliveryRefusedError as error:
                refusal = self._told(error, delivery, texts)
                if reading is None:
                    clear_staging(connection)
        if alone:
            stage_single(connection, taken=refusal is None)
        else:
            stage_in_batch(connection, number, taken=refusal is None)
        return self._arrived(delivery, reading, refusal)

    def _arrived(
        self, delivery: Delivery, reading: Reading | None, refusal: str | None = None
    ) -> StagedDelivery:
        read_with = Conditions.of(self.settings, delivery.text_format)
        return StagedDelivery(delivery, reading, read_with, refusal)

    def _told(
        self, error: DeliveryRefusedError, delivery: Delivery, texts: Sequence[PlainText]
    ) -> str:
        """Return the text of a refusal, with advice on the encoding where that may be the cause."""
        by_encoding = isinstance(error, NoHeaderError) or (
            isinstance(error, TooManyRejectsError) and error.reason == INVALID_ENCODING
        )
        hint = self._encoding_hint(delivery, texts) if by_encoding else ""
        return f"{error} {hint}".rstrip()

    def _encoding_hint(self, delivery: Delivery, texts: Sequence[PlainText]) -> str:
        """Return how the first text that is not in its encoding is probably written."""
        named = False
        with suppress(SettingsError):  # It is not what is being done.
            named = delivery.partition_key in read_sources(self.settings.sources_path)
        fallback = self.settings.fallback_encoding
        hints = (encoding_hint(one, in_sources_file=named, fallback=fallback) for one in texts)
        return next(filter(None, hints), "")

    def _merge(
        self,
        arrived: Sequence[StagedDelivery],
        known: Mapping[str, LedgerEntry],
        *,
        loaded: bool = False,
    ) -> list[IngestResult]:
        connection = self.workspace.connection
        done = self._done(merge(connection, arrived, self.started, directly_loaded=loaded), known)
        return [
            replace(ingested, reading=one.reading)
            for ingested, one in zip(done, arrived, strict=True)
        ]

    def _done(
        self, done: Sequence[LedgerEntry], known: Mapping[str, LedgerEntry]
    ) -> list[IngestResult]:
        """What became of the batch, by the accounts that the attached warehouse has now and had."""
        connection = self.workspace.connection
        products, id_ = product_count(connection), database_id(connection)
        return [
            IngestResult(
                delivery,
                account,
                None,
                products,
                batch=len(self.batch),
                database_id=id_,
                merged_here=account.status is Status.MERGED
                and account != known.get(delivery.delivery_id),
            )
            for delivery, account in zip(self.batch, done, strict=True)
        ]

    @cached_property
    def _lone_texts(self) -> Sequence[PlainText]:
        """The texts of a delivery that is alone: unpacked once, whichever way it goes."""
        with marking_in_progress(self.batch, self.settings):
            return self._texts(self.batch[0], self.workspace.folder)

    def _texts(self, delivery: Delivery, folder: Path) -> Sequence[PlainText]:
        """The begin of every reading."""
        verify_raw_file(delivery)
        if self._is_suspect(delivery):
            trial_read_if_crashed(delivery, self.limits, self.settings, self.log)
        return plain_texts(delivery, folder, self.settings)

    def _is_suspect(self, delivery: Delivery) -> bool:
        """Whether a reader of these bytes had died when this began."""
        return delivery.sha256 in self._died_of

    @cached_property
    def _died_of(self) -> frozenset[str]:
        return crashed_digests(self.settings)

    @contextmanager
    def _attached(
        self, warehouse: Warehouse, work: str = "merging"
    ) -> Iterator[Mapping[str, LedgerEntry]]:
        """Attach the warehouse to work on the batch, telling others and the log so.

        Yields:
            The accounts until now of the partitions, by delivery id.

        Raises:
            MindChangedError: meanwhile, the batch is to be taken in or out in another way.
            OtherSettingsError: one of it is to be read with other settings.
            LfpError: one of it cannot be read as it was.
        """
        purpose = f"{work} {preview([one.delivery_id for one in self.batch], limit=1)}"
        telling = heartbeat(self.log, lambda seconds: f"{purpose}: {seconds:.0f} s so far")
        with warehouse.attached(self.workspace.connection, purpose, self.log), telling:
            # Behind the lock: whoever changes his mind says so first, and comes here then.
            if any(is_reverted(one.path) != self.is_out for one in self.batch):
                raise DesiredStateChangedError
            if any(as_recorded(one) != one for one in self.batch):
                raise DesiredStateChangedError
            ids = [one.delivery_id for one in self.batch]
            known = accounts(self.workspace.connection, ids)
            if not self.is_out:
                for one in self.batch:
                    self._check_settings(known.get(one.delivery_id))
            yield known

    def _check_settings(self, known: LedgerEntry | None) -> None:
        """See that a delivery that was merged once is read with the settings of then.

        Its source may say another text format since: that counts.
        """
        if known is None or known.status is Status.MERGED or known.read_conditions is None:
            return
        way = reread(known.read_with, known.read_conditions, None, self.settings)
        if way.differences:
            msg = (
                f"{known.delivery_id} was merged before, and cannot be read as it was then: "
                f"{'; '.join(way.differences)}. Put back what has changed; or run revert_delivery "
                "for it, and then again with reinstate and use_present_settings."
            )
            raise OperationRefusedError(msg)
        if way.settings is not self.settings:
            raise OtherSettingsError(way.settings)
