"""The backlog: files and deliveries that are still to be merged or reverted in a database."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from lfp_pipeline.common.clock import utc_from_ns
from lfp_pipeline.common.text import preview
from lfp_pipeline.errors import LandingError
from lfp_pipeline.hosts.liveness import Kind, Liveness
from lfp_pipeline.ingest.delivery_warnings import delivery_warnings
from lfp_pipeline.ingest.ingest import try_to_write_status_note
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import APPLIED, STATUSES, LedgerEntry, Status
from lfp_pipeline.raw_zone.landed import Landed
from lfp_pipeline.raw_zone.pending import (
    has_pending,
    pending_deliveries,
    pending_operator_requests,
    reconciled,
)
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.catalog import SourceCatalog
from lfp_pipeline.sources.inbox import InboxFile, Listing
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.invariants import product_count
from lfp_pipeline.warehouse.ledger import entries, statuses
from lfp_pipeline.warehouse.schema import database_id


@dataclass(frozen=True)
class PartitionBacklog:
    """The pending deliveries of some partitions, and the results of the others.

    Attributes:
        pending: deliveries that are still to be merged or reverted.
        done: for each partition without pending deliveries, the result of its newest delivery.
        missing: partitions without a delivery, or whose deliveries cannot be read.
    """

    pending: Sequence[Delivery]
    done: Sequence[IngestResult]
    missing: Sequence[LandingFailure]


@dataclass(frozen=True)
class Backlog:
    """The inbox and the raw zone, compared with one database."""

    settings: Settings
    catalog: SourceCatalog
    raw_zone: RawZone
    warehouse: Backend
    liveness: Liveness

    def inbox(self, log: logging.Logger, keys: Collection[str] | None = None) -> Listing:
        """List the inbox; its ready files are those that are neither merged nor reverted.

        A file that restores lost bytes of a merged delivery is ready, too. A file that another
        program has open for writing, or that cannot be read, is not. The oldest file comes first.

        Args:
            log: for warnings.
            keys: the partitions whose files may be ready; None: all.

        Raises:
            LandingError: the inbox cannot be read.
        """
        listing = self.catalog.list_stable_files(log, keys)
        wanted = [file for file in listing.ready if keys is None or file.partition_key in keys]
        pending = self.catalog.set_apart(listing, self._pending(wanted, log))
        if written := set(pending.still_writing) - set(listing.still_writing):
            names = preview(sorted(written))
            log.warning("Left alone, changed or open for writing in other programs: %s", names)
        if keys is None:
            self.catalog.log_left_out(pending, log)
        return pending

    def _pending(self, files: Sequence[InboxFile], log: logging.Logger) -> Sequence[InboxFile]:
        if not self.warehouse.exists:
            return files
        with self.warehouse.session("reading the ledger", log) as connection:
            status_of, id_ = statuses(connection), database_id(connection)
            applied = [
                landed if landed and status_of.get(landed.delivery_id) in APPLIED else None
                for landed in self.raw_zone.index.landed(files)
            ]
            self._restore_status_notes(filter(None, applied), status_of, id_, log)
        return [file for file, landed in zip(files, applied, strict=True) if landed is None]

    def _restore_status_notes(
        self,
        applied: Iterable[Landed],
        status_of: Mapping[str, Status],
        id_: str,
        log: logging.Logger,
    ) -> None:
        """Write missing status notes of pruned deliveries; else the sensor requests their files.

        Requires the writer lock, so that the ledger does not change meanwhile.
        """
        for landed in applied:
            if not landed.pruned or landed.is_reconciled_in(id_):
                continue
            name, notes = landed.raw_name, self.raw_zone.notes
            if self.raw_zone.desired.is_pruned(name) and notes.status_in(name, id_) is None:
                try_to_write_status_note(notes, name, status_of[landed.delivery_id], id_, log)

    def deliveries(self, log: logging.Logger, offered: Sequence[InboxFile] = ()) -> list[Delivery]:
        """Return the pending deliveries, oldest first.

        Deliveries of the `offered` inbox files are omitted, because these files will land again.
        """
        ctimes = {
            (file.partition_key, utc_from_ns(file.mtime_ns), file.size_bytes): file.ctime_ns
            for file in offered
        }

        def is_offered(delivery: Delivery) -> bool:
            version = delivery.partition_key, delivery.version_time, delivery.size_bytes
            ctime_ns = ctimes.get(version)
            return ctime_ns is not None and delivery.source_ctime_ns in {None, ctime_ns}

        pending = pending_deliveries(self.raw_zone, self.warehouse.cached_id(), log)
        return [delivery for delivery in pending if not is_offered(delivery)]

    def operator_requests(self, log: logging.Logger) -> list[Delivery]:
        """Return pending purges and reversals, oldest first. Apply them before merging any file."""
        return pending_operator_requests(self.raw_zone, self.warehouse.cached_id(), log)

    def has_pending(self, key: str) -> bool:
        """Return whether a partition has a pending delivery."""
        return has_pending(self.raw_zone, key, self.warehouse.cached_id())

    def last_statuses(self, files: Sequence[InboxFile]) -> list[Status | None]:
        """Return the noted status of each file, without opening the database; None: pending.

        A file that was dropped again, moved or touched since is pending, because it may have other
        bytes of the same time and size. So is a file that restores lost bytes.
        """
        return [
            STATUSES.get(landed.noted_status or "") if landed else None
            for landed in self.reconciled(files)
        ]

    def reconciled(self, files: Sequence[InboxFile]) -> list[Landed | None]:
        """Return the delivery of each file; None: the file is pending."""
        return reconciled(self.raw_zone, files, self.warehouse.cached_id())

    def of(self, keys: Sequence[str], log: logging.Logger) -> PartitionBacklog:
        """Return the backlog of partitions.

        A refused delivery is pending if it is the newest of its partition, because a request for
        the partition is a request for another attempt. A pruned delivery can be reverted, but not
        merged.
        """
        id_ = self.warehouse.cached_id()
        landed = {key: self.raw_zone.index.deliveries(key) for key in keys}
        newest = {key: found[-1] for key, found in landed.items() if found}
        status_of, entries, products = self._ledger(
            list(landed), [delivery.delivery_id for delivery in newest.values()], log
        )
        pending: list[Delivery] = []
        done: list[IngestResult] = []
        missing: list[LandingFailure] = []
        for key, deliveries in landed.items():
            try:
                of_partition = [
                    self.raw_zone.find(delivery.delivery_id)
                    for delivery in deliveries
                    if _is_pending(delivery, newest[key], status_of, id_)
                ]
                last = self.raw_zone.newest(key)
            except LandingError as error:
                missing.append(LandingFailure(key, str(error)))
                continue
            pending += of_partition
            if last is None:
                message = "There is no delivery. Materialize raw_products, too."
                missing.append(LandingFailure(key, message))
            elif not of_partition:
                if entry := entries.get(last.delivery_id):
                    warnings = delivery_warnings(
                        last, entry, self.raw_zone, self.settings.inbox_place
                    )
                    done.append(IngestResult(last, entry, products=products, warnings=warnings))
                else:
                    message = f"{last.label} is pruned. Land its file again."
                    missing.append(LandingFailure(key, message))
        return PartitionBacklog(pending, done, missing)

    def _ledger(
        self, keys: Sequence[str], ids: Sequence[str], log: logging.Logger
    ) -> tuple[Mapping[str, Status], Mapping[str, LedgerEntry], int]:
        """Return statuses of partitions, ledger entries of deliveries, the number of products."""
        if not self.warehouse.exists:
            return {}, {}, 0
        with self.warehouse.session("reading the ledger", log) as connection:
            status_of = statuses(connection, keys)
            return status_of, entries(connection, ids), product_count(connection)

    @contextmanager
    def being_reversed(self, delivery: Delivery) -> Iterator[None]:
        """Hold the mark that this process reverts or reinstates a delivery, for the block.

        A dry run holds none.
        """
        if self.warehouse.is_read_only:
            yield
            return
        for _ in self.liveness.claim_dead(Kind.REVERSAL):
            pass  # Claiming removes the mark; the next run completes what its process had begun.
        with self.liveness.hold(Kind.REVERSAL, uuid4().hex, delivery.partition_key):
            yield

    def partitions_being_reversed(self) -> set[str]:
        """Return the partitions of which a live process reverts or reinstates a delivery."""
        return {mark.text for mark in self.liveness.live(Kind.REVERSAL)}


def _is_pending(
    landed: Landed, newest: Landed, status_of: Mapping[str, Status], id_: str | None
) -> bool:
    """Return whether a request for its partition has something to do for a delivery."""
    state = landed.state(status_of.get(landed.delivery_id))
    return state.is_replayable and (
        not state.is_reconciled
        or (state.recorded is Status.REFUSED and landed == newest)
        # A run died after the commit, before it wrote the status note.
        or not landed.is_reconciled_in(id_)
    )
