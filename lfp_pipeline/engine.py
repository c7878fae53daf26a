"""The engine: the facade over all that can be done with a data folder."""

import logging
import shutil
from collections.abc import Collection, Iterator, Sequence

import duckdb

from lfp_pipeline.errors import LfpError
from lfp_pipeline.hosts.liveness import liveness_of
from lfp_pipeline.ingest.backlog import Backlog
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.ingest.scheduler import Scheduler
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import Source
from lfp_pipeline.sources.catalog import SourceCatalog
from lfp_pipeline.sources.inbox import InboxFile, Listing
from lfp_pipeline.warehouse.backend import Backend
from lfp_pipeline.warehouse.choice import published_of, warehouse_of


class Engine:
    """Lands, reads and merges deliveries of one data folder.

    `Engine(load_settings())` works on the data folder of the environment. Nothing stays open
    between calls.

    Attributes:
        settings: the settings of the data folder. Other settings need another engine.
        catalog: the sources: inbox, locations, sources file.
        raw_zone: the store of deliveries.
        warehouse: the database.
        published: what readers see of the database.
        liveness: the marks of living runs and reversals.
        backlog: what is still to be merged or reverted.
        scheduler: lands and ingests many files.
    """

    def __init__(
        self, settings: Settings, warehouse: Backend | None = None, *, read_only: bool = False
    ) -> None:
        """Use the database of the data folder, or another warehouse.

        Args:
            read_only: change nothing in the data folder, so only plan or read.
        """
        self.settings = settings
        self.raw_zone = RawZone.of(settings, read_only=read_only)
        self.catalog = SourceCatalog(settings, self.raw_zone.index.newest_versions)
        self.warehouse = warehouse or warehouse_of(settings, read_only=read_only)
        self.published = published_of(settings, self.warehouse, self.raw_zone)
        self.liveness = liveness_of(settings)
        self.backlog = Backlog(settings, self.catalog, self.raw_zone, self.warehouse, self.liveness)
        self.scheduler = Scheduler(settings, self.catalog, self.raw_zone, self.warehouse)

    def land(self, source: Source, key: str, log: logging.Logger) -> Delivery:
        """Bring a source into the raw zone, as a delivery of that partition.

        Raises:
            LandingError: the source could not be fetched or stored.
        """
        return self.scheduler.land(source, key, log)

    def pending_inbox(self, log: logging.Logger, keys: Collection[str] | None = None) -> Listing:
        """List the inbox; its ready files are those that are to be ingested (`Backlog.inbox`)."""
        return self.backlog.inbox(log, keys)

    def pending_deliveries(
        self, log: logging.Logger, offered: Sequence[InboxFile] = ()
    ) -> list[Delivery]:
        """Return the deliveries that are to be ingested (`Backlog.deliveries`)."""
        return self.backlog.deliveries(log, offered)

    def ingest(self, delivery: Delivery, log: logging.Logger) -> IngestResult:
        """Read and merge a delivery."""
        (result,) = ingest([delivery], self.raw_zone, self.settings, self.warehouse, log)
        return result

    def ingest_all(
        self, files: Sequence[InboxFile], deliveries: Sequence[Delivery], log: logging.Logger
    ) -> Iterator[IngestResult | LandingFailure]:
        """Land files, ingest them and other deliveries, and yield results as batches end.

        A failure affects no other file. Closing the iterator cancels the batches that have not
        begun.
        """
        return self.scheduler.ingest_all(files, deliveries, log)

    def publish(self, log: logging.Logger, *, at_once: bool = False) -> None:
        """Publish changed tables, if publishing is within its time budget.

        Publishing waits for no other process. If it fails, the earlier copy stays in use.

        Args:
            at_once: ignore the budget and wait for other processes, so that reverted rows leave
                the copy, too.
        """
        published = self.published
        wanted = (
            (published.time_share or published.exists) if at_once else published.is_within_budget()
        )
        if not (wanted and published.is_stale):
            return
        try:
            if not at_once:
                published = published.waiting(0)
            published.publish(log)
        except (LfpError, duckdb.Error, OSError) as error:
            log.warning("The tables were not published; the earlier copy stays in use. %s", error)

    @property
    def free_bytes(self) -> int:
        """Free space on the disk of the data folder, which need not exist yet."""
        folder = self.settings.data_dir
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        return shutil.disk_usage(existing).free
