"""A batch of deliveries in a workspace: its texts, and the warehouse behind the writer lock."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lfp_pipeline.common.duckdb_tools import transaction
from lfp_pipeline.common.progress import Progress, announce, heartbeat
from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import OperationRefusedError
from lfp_pipeline.ingest.result import DesiredStateChangedError, IngestResult, OtherSettingsError
from lfp_pipeline.model.delivery import Delivery, label_of
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.crash_guard import (
    crashed_digests,
    marking_in_progress,
    trial_read_if_crashed,
)
from lfp_pipeline.reading.options import ReadOptions, reread
from lfp_pipeline.reading.plain_text import PlainText, plain_texts
from lfp_pipeline.reading.workspace import Workspace, WorkspaceLimits
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entries
from lfp_pipeline.warehouse.schema import database_id


@dataclass(frozen=True)
class BatchInWorkspace:
    """A batch in its workspace, beside the warehouse.

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

    def results(
        self, entries: Sequence[LedgerEntry], before: Mapping[str, LedgerEntry]
    ) -> list[IngestResult]:
        """Return the results of the batch, by its ledger entries and those before."""
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
    def single_texts(self) -> Sequence[PlainText]:
        """The texts of a delivery that is alone in its batch, unpacked once for all ways."""
        with marking_in_progress(self.batch, self.settings.work_dir):
            return self.texts(self.batch[0], self.workspace.folder, self.held)

    def texts(self, delivery: Delivery, folder: Path, held: ExitStack) -> Sequence[PlainText]:
        """Verify and unpack a delivery, as every way of reading begins, and hold its bytes."""
        held.enter_context(self.raw_zone.verified(delivery))
        if delivery.sha256 in self.crashed:
            work_dir = self.settings.work_dir
            trial_read_if_crashed(delivery, self.limits, self.options, work_dir, self.log)
        return plain_texts(delivery, folder, self.options)

    @cached_property
    def options(self) -> ReadOptions:
        """The settings that decide how a delivery is read."""
        return ReadOptions.of(self.settings)

    @cached_property
    def crashed(self) -> frozenset[str]:
        """The digests of the files that had crashed a reader when this batch began."""
        return crashed_digests(self.settings.work_dir)

    @contextmanager
    def attached(
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
