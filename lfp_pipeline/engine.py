"""The engine in one piece: land, read, merge, and tell what became of each delivery."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import duckdb

from lfp_pipeline.errors import (
    DeliveryRefusedError,
    LandingError,
    LfpError,
    WarehouseBusyError,
)
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.download import DownloadLimits
from lfp_pipeline.landing.inbox import InboxFile, list_inbox
from lfp_pipeline.landing.locations import source_at
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.landing.sources import LocalFile, Source, utc_from_ns
from lfp_pipeline.progress import heartbeat
from lfp_pipeline.reading.reader import Reading, read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits
from lfp_pipeline.settings import Settings, divided_size
from lfp_pipeline.warehouse.account import Account, Status
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.ledger import accounts
from lfp_pipeline.warehouse.merge import merge, note_unmerged

_SAMPLE_PRODUCTS = """
SELECT sku, name, description FROM winners WHERE row_number <= 1000 ORDER BY row_number LIMIT 5
"""

_SAMPLE_REJECTS = """
SELECT row_number, byte_start, byte_end, reason, detail, raw
FROM rejects ORDER BY row_number LIMIT 5
"""


@dataclass(frozen=True)
class Ingested:
    """What became of a delivery, for people.

    Attributes:
        products: rows in `products` afterwards.
        seconds: from the landed file to the commit, waiting for the lock included.
        seconds_reading: of these, reading.
        ignored_columns: names in the header that are not taken in.
        sample_products: some of its rows: sku, name, description.
        sample_rejects: some rejects: row number, start and end byte, reason, detail, bytes.
    """

    delivery: Delivery
    account: Account
    products: int = 0
    seconds: float = 0.0
    seconds_reading: float = 0.0
    ignored_columns: Sequence[str] = ()
    sample_products: Sequence[tuple[str, str, str]] = ()
    sample_rejects: Sequence[tuple[int, int, int, str, str, bytes]] = ()


@dataclass(frozen=True)
class NotLanded:
    """A source that could not be brought into the raw zone."""

    partition_key: str
    error: str


class Engine:
    """Everything that can be done with one data folder. It holds nothing open between calls."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.raw_zone = RawZone(settings.raw_dir)
        self.warehouse = Warehouse(
            settings.database_path,
            settings.writer_wait_seconds,
            settings.foreign_wait_seconds,
            settings.duckdb_config,
        )

    # Landing

    def source_at(self, location: str) -> Source:
        """The source at a URL or path.

        Raises:
            LandingError: it is neither.
        """
        limits = DownloadLimits(
            self.settings.download_attempts,
            self.settings.download_timeout_seconds,
            self.settings.max_download_bytes,
        )
        return source_at(location, limits)

    def inbox_source(self, key: str) -> Source | None:
        """The inbox file that feeds a partition, if it is there.

        Raises:
            LandingError: the inbox cannot be read.
        """
        listing = list_inbox(self.settings.inbox_dir, quiet_seconds=0)
        files = (file for file in listing.ready if file.partition_key == key)
        return next((self._source(file) for file in files), None)

    def land(self, source: Source, key: str, log: logging.Logger) -> Delivery:
        """Bring a source into the raw zone.

        Raises:
            LandingError: it could not be fetched.
        """
        return self.raw_zone.land(source, key, log)

    def _source(self, file: InboxFile) -> LocalFile:
        return LocalFile(file.path, inside=self.settings.inbox_dir)

    # What is still to be done

    def pending_inbox_files(self, log: logging.Logger) -> list[InboxFile]:
        """The files in the inbox that are ready and not merged, oldest first.

        Raises:
            LandingError: the inbox cannot be read.
        """
        quiet = self.settings.inbox_quiet_seconds
        listing = list_inbox(self.settings.inbox_dir, quiet_seconds=quiet)
        if listing.unstable:  # Dropped a moment ago, it may be whole a moment later.
            time.sleep(quiet)
            listing = list_inbox(self.settings.inbox_dir, quiet_seconds=quiet)
        if listing.unstable:
            log.warning("Left alone, still being written: %s", list(listing.unstable[:10]))
        known = self.accounts([file.partition_key for file in listing.ready], log)
        return [file for file in listing.ready if not self._is_merged(file, known)]

    def unfinished(self, key: str, log: logging.Logger) -> list[Delivery]:
        """The deliveries of a partition that did not come to an end, oldest first.

        A refused delivery has; but the newest is tried again when somebody asks for it.
        """
        deliveries = self.raw_zone.deliveries(key)
        known = self.accounts([key], log) if deliveries else {}
        ended = {Status.MERGED, Status.REFUSED}
        return [
            delivery
            for delivery in deliveries
            if (account := known.get(delivery.delivery_id)) is None
            or account.status not in ended
            or (account.status is Status.REFUSED and delivery is deliveries[-1])
            # A run that died after the commit: found to be in, it is noted where sensors look.
            or self.raw_zone.outcome(key, delivery.delivered_at, delivery.size_bytes) is None
        ]

    def accounts(self, keys: Sequence[str], log: logging.Logger) -> dict[str, Account]:
        """The ledger's accounts of some partitions, by delivery id."""
        if not keys or not self.warehouse.path.exists():
            return {}
        with self.warehouse.opened("reading the ledger", log) as connection:
            return accounts(connection, keys)

    def _is_merged(self, file: InboxFile, known: dict[str, Account]) -> bool:
        delivered_at = utc_from_ns(file.mtime_ns)
        return any(
            (account := known.get(delivery.delivery_id)) is not None
            and account.status is Status.MERGED
            for delivery in self.raw_zone.deliveries(file.partition_key)
            if (delivery.delivered_at, delivery.size_bytes) == (delivered_at, file.size_bytes)
        )

    # Reading and merging

    def ingest(self, delivery: Delivery, log: logging.Logger, *, share: int = 1) -> Ingested:
        """Read and merge a delivery; whatever goes wrong with it ends in its account.

        Args:
            delivery: in the raw zone.
            log: for progress and tracebacks.
            share: with how many others it shares this run's threads and memory.
        """
        try:
            ingested = self._read_and_merge(delivery, log, share)
        except DeliveryRefusedError as error:
            ingested = Ingested(delivery, self._note(delivery, Status.REFUSED, error, log))
        except Exception as error:
            log.exception("%s failed", delivery.delivery_id)
            ingested = Ingested(delivery, self._note(delivery, Status.FAILED, error, log))
        if ingested.account.status is not Status.FAILED:
            try:
                self.raw_zone.note_outcome(delivery, ingested.account.status)
            except OSError as error:  # The ledger knows. The delivery is offered once more.
                log.warning("The outcome of %s could not be noted: %s", delivery.path, error)
        return ingested

    def ingest_all(
        self,
        files: Sequence[InboxFile],
        deliveries: Sequence[Delivery],
        log: logging.Logger,
    ) -> Iterator[Ingested | NotLanded]:
        """Land files and ingest them and other deliveries, several at once; as each ends.

        None harms another.
        """
        share = min(self.settings.parallel_files, max(len(files) + len(deliveries), 1))

        def land_and_ingest(file: InboxFile) -> Ingested | NotLanded:
            try:
                delivery = self.land(self._source(file), file.partition_key, log)
            except LandingError as error:
                return NotLanded(file.partition_key, str(error))
            return self.ingest(delivery, log, share=share)

        tasks: list[Callable[[], Ingested | NotLanded]] = [
            *(
                lambda delivery=delivery: self.ingest(delivery, log, share=share)
                for delivery in deliveries
            ),
            *(lambda file=file: land_and_ingest(file) for file in files),
        ]
        with ThreadPoolExecutor(share) as pool:
            try:
                for done in as_completed([pool.submit(task) for task in tasks]):
                    yield done.result()
            finally:  # Who stops listening does not wait for what has not begun.
                pool.shutdown(cancel_futures=True)

    def _read_and_merge(self, delivery: Delivery, log: logging.Logger, share: int) -> Ingested:
        started = time.perf_counter()
        limits = WorkspaceLimits(
            threads=max(1, self.settings.threads // share),
            memory_limit=divided_size(self.settings.memory_limit, share),
        )
        with read_delivery(delivery, self.settings, limits, log) as reading:
            purpose = f"merging {delivery.delivery_id}"
            telling = heartbeat(
                log,
                lambda seconds: f"{purpose}: {reading.rows_read:,} rows, {seconds:.0f} s so far",
            )
            with self.warehouse.attached(reading.connection, purpose, log), telling:
                account = self._merge_or_refuse(reading, delivery)
                products = reading.connection.execute("SELECT count(*) FROM warehouse.products")
                return Ingested(
                    delivery=delivery,
                    account=account,
                    products=products.fetchall()[0][0],
                    seconds=time.perf_counter() - started,
                    seconds_reading=reading.seconds,
                    ignored_columns=reading.ignored_columns,
                    sample_products=reading.connection.execute(_SAMPLE_PRODUCTS).fetchall(),
                    sample_rejects=reading.connection.execute(_SAMPLE_REJECTS).fetchall(),
                )

    def _merge_or_refuse(self, reading: Reading, delivery: Delivery) -> Account:
        limit = self.settings.max_reject_share
        if reading.reject_share <= limit:
            return merge(reading, delivery)
        error = (
            f"{reading.rows_rejected:,} of {reading.rows_read:,} rows are rejected "
            f"({reading.reject_share:.1%}); more than {limit:.1%} refuses the whole file (setting "
            "LFP_MAX_REJECT_SHARE). The rejects and their reasons are in rejected_rows."
        )
        return note_unmerged(reading.connection, delivery, Status.REFUSED, error, with_rejects=True)

    def _note(
        self, delivery: Delivery, status: Status, error: Exception, log: logging.Logger
    ) -> Account:
        """Write into the ledger why a delivery was not merged, if the ledger can be had."""
        text = str(error) if isinstance(error, LfpError) else f"{type(error).__name__}: {error}"
        if isinstance(error, WarehouseBusyError):  # It has waited long enough.
            return Account(delivery.delivery_id, status, error=text)
        try:
            with self.warehouse.opened("noting a failure", log) as connection:
                return note_unmerged(connection, delivery, status, text)
        except (LfpError, duckdb.Error, OSError) as ledger_error:
            log.warning("The failure could not be noted in the ledger: %s", ledger_error)
            return Account(delivery.delivery_id, status, error=text)
