"""Land and ingest many files: in batches, several batches at once."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Any

from lfp_pipeline.errors import LandingError
from lfp_pipeline.ingest.delivery_warnings import older_version
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.compression import MAGIC_BYTES
from lfp_pipeline.reading.unpacking import is_packed, is_packed_head
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import Source
from lfp_pipeline.sources.catalog import SourceCatalog
from lfp_pipeline.sources.feeds import Feed
from lfp_pipeline.sources.inbox import InboxFile
from lfp_pipeline.warehouse.backend import Backend

_UNPACKED_TO_PACKED = 10
"""Estimated size of an unpacked file, divided by its packed size."""

_WAIT_SECONDS = 0.5
"""Longest wait at a time. Python handles a signal that comes as a wait begins at its end only."""

ReadBatch = Sequence[InboxFile | Delivery]
"""Files and deliveries that are read and merged together."""


@dataclass(frozen=True)
class Scheduler:
    """Lands sources, and ingests files and deliveries in parallel."""

    settings: Settings
    catalog: SourceCatalog
    raw_zone: RawZone
    warehouse: Backend

    def land(self, source: Source, key: str, log: logging.Logger) -> Delivery:
        """Bring a source into the raw zone; raise LandingError if that fails."""
        started = self.raw_zone.now()
        if isinstance(source, Feed):
            with source.acknowledging_updates():
                delivery = self.raw_zone.land(source, key, log, polled=True)
        else:
            delivery = self.raw_zone.land(source, key, log)
        has_landed_before = delivery.landed_at < started
        if has_landed_before and (newer := self.raw_zone.newer_than(delivery)):
            advice = older_version(delivery, newer, self.settings.inbox_place)
            log.warning("%s landed before, and is here again. %s", delivery.label, advice)
        return delivery

    def ingest_all(
        self, files: Sequence[InboxFile], deliveries: Sequence[Delivery], log: logging.Logger
    ) -> Iterator[IngestResult | LandingFailure]:
        """Land files, ingest them and other deliveries, and yield results as batches end."""
        batches = self.batches(files, deliveries)
        workers = min(self.settings.parallel_files, max(len(batches), 1))
        is_busy = threading.Event()

        def land_and_ingest(batch: ReadBatch) -> list[IngestResult | LandingFailure]:
            landed, results = self._landed(batch, log)
            if is_busy.is_set():  # Another batch has waited for the database in vain.
                return [*results, *map(_not_tried, landed)]
            if landed:
                ingested = ingest(
                    landed, self.raw_zone, self.settings, self.warehouse, log, workers=workers
                )
                if any(result.busy for result in ingested):
                    is_busy.set()
                results += ingested
            return results

        with ThreadPoolExecutor(workers) as pool:
            tasks: list[Future[list[IngestResult | LandingFailure]]] = []
            remaining = tasks
            done: SimpleQueue[Future[list[IngestResult | LandingFailure]]] = SimpleQueue()
            try:
                tasks.extend(pool.submit(land_and_ingest, batch) for batch in batches)
                remaining = list(tasks)
                for task in tasks:
                    task.add_done_callback(done.put)
                while remaining:
                    with suppress(Empty):
                        remaining.remove(task := done.get(timeout=_WAIT_SECONDS))
                        yield from task.result()
            except BaseException as error:
                if len(tasks) < len(batches) or any(task.running() for task in tasks):
                    log.warning("Stopping as soon as the files that are being read are merged")
                pool.shutdown(cancel_futures=True)
                if not isinstance(error, GeneratorExit):  # Then nobody takes more results.
                    yield from _results_of(remaining)
                raise

    def batches(
        self, files: Sequence[InboxFile], deliveries: Sequence[Delivery]
    ) -> Sequence[ReadBatch]:
        """Cut deliveries and files into batches, in order: many small ones, or one large one."""
        batches: list[list[InboxFile | Delivery]] = []
        bytes_left = files_left = 0
        due: ReadBatch = [*deliveries, *files]
        with self._mapping() as mapped:
            sizes = list(mapped(self._text_bytes, due))
        for file, size in zip(due, sizes, strict=True):
            if size > bytes_left or not files_left:
                batches.append([])
                bytes_left, files_left = self.settings.batch_bytes, self.settings.batch_files
            batches[-1].append(file)
            bytes_left -= size
            files_left -= 1
        return batches

    def _text_bytes(self, file: InboxFile | Delivery) -> int:
        """Estimate the size of a file when unpacked."""
        with suppress(OSError, LandingError):  # Landing reports a file that cannot be read.
            if isinstance(file, Delivery):
                packed = is_packed(file.path)
            else:
                packed = is_packed_head(self.catalog.inbox_source(file).head(MAGIC_BYTES))
            if packed:
                return file.size_bytes * _UNPACKED_TO_PACKED
        return file.size_bytes

    def _landed(
        self, batch: ReadBatch, log: logging.Logger
    ) -> tuple[list[Delivery], list[IngestResult | LandingFailure]]:
        """Land the files of a batch; return its deliveries, and the files that could not land."""
        landed: list[Delivery] = []
        failures: list[IngestResult | LandingFailure] = []
        with self._mapping() as mapped:
            for outcome in mapped(partial(self._land_file, log=log), batch):
                if isinstance(outcome, Delivery):
                    landed.append(outcome)
                else:
                    failures.append(outcome)
        return landed, failures

    def _land_file(
        self, file: InboxFile | Delivery, log: logging.Logger
    ) -> Delivery | LandingFailure:
        if isinstance(file, Delivery):
            return file
        try:
            return self.land(self.catalog.inbox_source(file), file.partition_key, log)
        except LandingError as error:
            return LandingFailure.because_of(error, file.partition_key, file.name)

    @contextmanager
    def _mapping(self) -> Iterator[Callable[..., Iterable[Any]]]:
        """Yield `map`; for files of a bucket, one that calls several functions at once."""
        if self.catalog.files_at_once == 1:
            yield map
        else:
            with ThreadPoolExecutor(self.catalog.files_at_once) as pool:
                yield pool.map


def _results_of(
    ended: Sequence[Future[list[IngestResult | LandingFailure]]],
) -> list[IngestResult | LandingFailure]:
    """Return the results of the batches that were not cancelled and did not fail."""
    done = [task.result() for task in ended if not (task.cancelled() or task.exception())]
    return list(chain.from_iterable(done))


def _not_tried(delivery: Delivery) -> IngestResult:
    error = "Not tried: the database is busy."
    return IngestResult(
        delivery, LedgerEntry(delivery.delivery_id, Status.FAILED, error=error), busy=True
    )
