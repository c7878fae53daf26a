"""The engine: everything that can be done with one data folder."""

import logging
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import duckdb

from lfp_pipeline.delivery_warnings import delivery_warnings, older_version
from lfp_pipeline.errors import LandingError, LfpError, StillWrittenError
from lfp_pipeline.holds import abandoned, held, living
from lfp_pipeline.ingested import Ingested, NotLanded
from lfp_pipeline.ingestion import ingest, try_to_note
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.feed_memory import FeedMemory
from lfp_pipeline.landing.feeds import Feed
from lfp_pipeline.landing.fence import Fence
from lfp_pipeline.landing.inbox import InboxFile, Listing, list_inbox
from lfp_pipeline.landing.inbox_source import InboxSource, set_apart
from lfp_pipeline.landing.intents import is_pruned
from lfp_pipeline.landing.locations import source_at
from lfp_pipeline.landing.outcomes import read_outcome
from lfp_pipeline.landing.partition_key import partition_key
from lfp_pipeline.landing.raw_index import Landed
from lfp_pipeline.landing.raw_zone import RawZone
from lfp_pipeline.landing.sources import DownloadLimits, Source, utc_from_ns, utc_now
from lfp_pipeline.landing.sources_file import NamedSource, read_sources
from lfp_pipeline.progress import some_of
from lfp_pipeline.reading.compression import MAGIC_BYTES
from lfp_pipeline.reading.unpacking import is_packed, is_packed_head
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.account import STATUSES, Account, Status
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.laws import product_count
from lfp_pipeline.warehouse.ledger import accounts, statuses
from lfp_pipeline.warehouse.published import PublishedCopy
from lfp_pipeline.warehouse.schema import database_id

_UNPACKED_TO_PACKED = 10
"""So many times as large a packed file is taken to be, to see which are small."""


@dataclass(frozen=True)
class Backlog:
    """How things stand with some partitions.

    Attributes:
        unfinished: deliveries that are still to be merged.
        finished: of the partitions without any, the newest delivery, as it is.
        not_landed: partitions of which nothing was ever delivered, or none can be told.
    """

    unfinished: Sequence[Delivery]
    finished: Sequence[Ingested]
    not_landed: Sequence[NotLanded]


_APPLIED = {Status.MERGED, Status.REVERTED}

_REVERSING = "reversing-"
"""How the name of a mark begins that says of which partition a delivery is reversed."""

Batch = Sequence[InboxFile | Delivery]
"""What is read and merged together."""


class Engine:
    """Everything that can be done with one data folder. It holds nothing open between calls."""

    def __init__(self, settings: Settings, warehouse: Warehouse | None = None) -> None:
        """For the database of the data folder, or another warehouse."""
        self.settings = settings
        self.raw_zone = RawZone(settings.raw_dir)
        self.warehouse = warehouse or Warehouse(
            settings.database_path,
            settings.writer_wait_seconds,
            settings.foreign_wait_seconds,
            settings.duckdb_config,
        )
        self.published = PublishedCopy(
            settings.published_path, self.warehouse, self.raw_zone, settings.publish_share
        )

    # Landing

    def source_at(self, location: str) -> Source:
        """The source at a URL or path.

        Raises:
            LandingError: it is neither.
        """
        return source_at(location, self._download_limits)

    def named_sources(self, keys: Sequence[str]) -> dict[str, Source]:
        """The sources that the sources file names for some partitions, as far as it does.

        Raises:
            LandingError: one has a location that is none.
            SettingsError: the sources file is wrong.
        """
        named = read_sources(self.settings.sources_path)
        return {key: self._source_of(named[key]) for key in keys if key in named}

    def feeds(self) -> tuple[list[Feed], list[str]]:
        """The sources that are polled, and what is wrong with others.

        Raises:
            SettingsError: the sources file is wrong.
        """
        feeds, problems = [], []
        for named in read_sources(self.settings.sources_path).values():
            try:
                source = self._source_of(named)
            except LandingError as error:
                problems.append(f"{named.name}: {error}")
            else:
                feeds += [source] if isinstance(source, Feed) else []
        return feeds, problems

    def _source_of(self, named: NamedSource) -> Source:
        location = named.location
        if named.kind == "sense":
            location = location.below("read")
        source = source_at(location, self._download_limits, named.sha256, named.text_format)
        if named.interval is None:
            return source
        memory = FeedMemory(self.settings.feeds_dir, named.name)
        return Feed(named, source, memory, self._download_limits)

    @property
    def _download_limits(self) -> DownloadLimits:
        return DownloadLimits(
            self.settings.download_attempts,
            self.settings.download_timeout_seconds,
            self.settings.max_download_bytes,
            Fence(self.settings.allowed_hosts),
        )

    def inbox_sources(self, keys: Sequence[str], log: logging.Logger) -> dict[str, Source]:
        """The inbox files that feed some partitions, as far as they are there.

        Raises:
            LandingError: the inbox cannot be read, or one of the files is still being written.
        """
        listing = self._listing_at_rest(log)
        self._tell_left_out(listing, log)
        if busy := {partition_key(name) for name in listing.unstable} & set(keys):
            msg = f"{', '.join(sorted(busy))}: still being written. Try again when it is at rest."
            raise StillWrittenError(msg)
        files = {file.partition_key: file for file in listing.ready}
        return {key: self._inbox_source(files[key]) for key in keys if key in files}

    def _inbox_source(self, file: InboxFile) -> InboxSource:
        return InboxSource(self.settings.inbox_dir, file)

    def land(self, source: Source, key: str, log: logging.Logger) -> Delivery:
        """Bring a source into the raw zone.

        Raises:
            LandingError: it could not be fetched.
        """
        started = utc_now()
        if isinstance(source, Feed):
            with source.being_read():
                delivery = self.raw_zone.land(source, key, log, polled=True)
        else:
            delivery = self.raw_zone.land(source, key, log)
        has_landed_before = delivery.landed_at < started
        if has_landed_before and (newer := self.raw_zone.newer_than(delivery)):
            advice = older_version(delivery, newer, self.settings.inbox_dir)
            log.warning("%s landed before, and is here again. %s", delivery.delivery_id, advice)
        return delivery

    # What is still to be done

    def pending_inbox(self, log: logging.Logger) -> Listing:
        """The inbox; of the ready files those that are not merged, or reverted, oldest first.

        And those that bring what is merged the bytes that it has lost. Those that a program has
        open for writing, and those that cannot be read, are not ready.

        Raises:
            LandingError: the inbox cannot be read.
        """
        listing = self._listing_at_rest(log)
        pending = self.set_apart(listing, self._pending(listing.ready, log))
        if written := pending.unstable[len(listing.unstable) :]:
            log.warning("Left alone, open for writing in other programs: %s", some_of(written))
        self._tell_left_out(pending, log)
        return pending

    def _pending(self, files: Sequence[InboxFile], log: logging.Logger) -> Sequence[InboxFile]:
        if not self.warehouse.path.exists():
            return files
        with self.warehouse.opened("reading the ledger", log) as connection:
            status_of, id_ = statuses(connection), database_id(connection)
            found = self.raw_zone.index.landed(files)
            applied = [
                one if one and status_of.get(one.delivery_id) in _APPLIED else None for one in found
            ]
            self._note_again(filter(None, applied), status_of, id_, log)
        return [file for file, landed in zip(files, applied, strict=True) if landed is None]

    def unended(self, log: logging.Logger, offered: Sequence[InboxFile] = ()) -> list[Delivery]:
        """All deliveries in the raw zone that came to no end in this database, oldest first.

        Args:
            log: for those that cannot be read.
            offered: versions that the inbox offers once more; they are left out.
        """
        ctimes = {
            (file.partition_key, utc_from_ns(file.mtime_ns), file.size_bytes): file.ctime_ns
            for file in offered
        }

        def is_offered(one: Delivery) -> bool:
            ctime_ns = ctimes.get((one.partition_key, one.version_time, one.size_bytes))
            return ctime_ns is not None and one.source_ctime_ns in {None, ctime_ns}

        unended = self.raw_zone.unended(self.warehouse.told_id(), log)
        return [one for one in unended if not is_offered(one)]

    def unended_wishes(self, log: logging.Logger) -> list[Delivery]:
        """Of these, the purges, and what is to be taken out: no file is to be in without them."""
        return self.raw_zone.unended_wishes(self.warehouse.told_id(), log)

    def is_unended(self, key: str) -> bool:
        """Whether a delivery of a partition came to no end in this database."""
        return self.raw_zone.is_unended(key, self.warehouse.told_id())

    @contextmanager
    def being_reversed(self, delivery: Delivery) -> Iterator[None]:
        """Hold the mark that a process is reverting or reinstating a delivery, for the block."""
        marks = self.settings.work_dir
        for _ in abandoned(marks, f"{_REVERSING}*"):
            pass  # The mark goes. What its process has begun, the next run carries out.
        with held(marks / f"{_REVERSING}{uuid4().hex}") as mark:
            mark.write_text(delivery.partition_key)
            yield

    def partitions_being_reversed(self) -> set[str]:
        """The partitions of which a living process is reverting or reinstating a delivery."""
        keys = set()
        for mark in living(self.settings.work_dir, f"{_REVERSING}*"):
            with suppress(FileNotFoundError):  # It is over.
                keys.add(mark.read_text())
        return keys

    def backlog(self, keys: Sequence[str], log: logging.Logger) -> Backlog:
        """How things stand with some partitions.

        A refused delivery is finished; but the newest is tried again when somebody asks for it.
        Of a pruned delivery nothing can be taken in; it can be taken out.
        """
        id_ = self.warehouse.told_id()
        landed = {key: self.raw_zone.index.deliveries(key) for key in keys}
        newest = {key: found[-1] for key, found in landed.items() if found}
        status_of, known, products = self._ledger(
            list(landed), [one.delivery_id for one in newest.values()], log
        )
        unfinished: list[Delivery] = []
        finished: list[Ingested] = []
        not_landed: list[NotLanded] = []
        for key, deliveries in landed.items():
            try:
                left = [
                    self.raw_zone.find(one.delivery_id)
                    for one in deliveries
                    if _is_unfinished(one, newest[key], status_of, id_)
                ]
                last = self.raw_zone.newest(key)
            except LandingError as error:
                not_landed.append(NotLanded(key, str(error)))
                continue
            unfinished += left
            if last is None:
                message = "There is no delivery. Materialize raw_products, too."
                not_landed.append(NotLanded(key, message))
            elif not left:
                if account := known.get(last.delivery_id):
                    warnings = delivery_warnings(
                        last, account, self.raw_zone, self.settings.inbox_dir
                    )
                    finished.append(Ingested(last, account, products=products, warnings=warnings))
                else:
                    message = f"{last.delivery_id} is pruned. Land its file again."
                    not_landed.append(NotLanded(key, message))
        return Backlog(unfinished, finished, not_landed)

    def outcomes(self, files: Sequence[InboxFile]) -> list[Status | None]:
        """What became of each of these versions of files, without opening the database.

        A file that was dropped anew, moved or touched since is offered again: it may have other
        bytes in spite of the same time and size. So is one that brings bytes that were lost.
        """
        ended = self.ended(files)
        return [STATUSES.get(landed.ended or "") if landed else None for landed in ended]

    def ended(self, files: Sequence[InboxFile]) -> list[Landed | None]:
        """The delivery that each of these versions of files is, if that came to its end."""
        return self.raw_zone.ended(files, self.warehouse.told_id())

    def list_inbox(self) -> Listing:
        """What is in the inbox now.

        Raises:
            LandingError: it cannot be read.
        """
        settings = self.settings
        return list_inbox(
            settings.inbox_dir,
            quiet_seconds=settings.inbox_quiet_seconds,
            ignored=settings.ignored_files,
        )

    def set_apart(self, listing: Listing, due: Sequence[InboxFile]) -> Listing:
        """The listing, with those of its due files as ready that can be opened and are at rest."""
        return set_apart(self.settings.inbox_dir, listing, due)

    def _listing_at_rest(self, log: logging.Logger) -> Listing:
        """The inbox; what was dropped a moment ago is given the time to be whole."""
        listing = self.list_inbox()
        if listing.unstable:
            time.sleep(self.settings.inbox_quiet_seconds)
            listing = self.list_inbox()
        if listing.unstable:
            log.warning("Left alone, still being written: %s", list(listing.unstable[:10]))
        return listing

    def _tell_left_out(self, listing: Listing, log: logging.Logger) -> None:
        if listing.left_out:
            level = logging.WARNING if listing.skipped else logging.INFO
            log.log(level, "In the inbox %s: %s.", self.settings.inbox_dir, listing.left_out)

    def _ledger(
        self, keys: Sequence[str], ids: Sequence[str], log: logging.Logger
    ) -> tuple[Mapping[str, Status], Mapping[str, Account], int]:
        """The statuses of some partitions, the accounts of some deliveries, how many products."""
        if not self.warehouse.path.exists():
            return {}, {}, 0
        with self.warehouse.opened("reading the ledger", log) as connection:
            status_of = statuses(connection, keys)
            return status_of, accounts(connection, ids), product_count(connection)

    def _note_again(
        self,
        ended: Iterable[Landed],
        status_of: Mapping[str, Status],
        id_: str,
        log: logging.Logger,
    ) -> None:
        """Note what became of what is pruned, where that was lost: it is offered by its file only.

        Behind the lock, where the ledger stays as it is.
        """
        for one in ended:
            raw = Path(one.raw) if one.pruned and not one.has_ended(id_) else None
            if raw and is_pruned(raw) and read_outcome(raw, id_) is None:
                try_to_note(raw, status_of[one.delivery_id], id_, log)

    # Reading and merging

    def ingest(self, delivery: Delivery, log: logging.Logger) -> Ingested:
        """Read and merge a delivery."""
        (ingested,) = ingest([delivery], self.settings, self.warehouse, log)
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
        batches = self._batches(files, deliveries)
        share = min(self.settings.parallel_files, max(len(batches), 1))
        busy = threading.Event()

        def land_and_ingest(batch: Batch) -> list[Ingested | NotLanded]:
            landed, done = self._landed(batch, log)
            if busy.is_set():  # One has waited for the database; the others need not.
                return [*done, *map(_not_tried, landed)]
            if landed:
                ingested = ingest(landed, self.settings, self.warehouse, log, share=share)
                if any(one.busy for one in ingested):
                    busy.set()
                done += ingested
            return done

        with ThreadPoolExecutor(share) as pool:
            try:
                tasks = [pool.submit(land_and_ingest, batch) for batch in batches]
                for done in as_completed(tasks):
                    yield from done.result()
            finally:  # Who stops listening does not wait for what has not begun.
                pool.shutdown(cancel_futures=True)

    def _batches(
        self, files: Sequence[InboxFile], deliveries: Sequence[Delivery]
    ) -> Sequence[Batch]:
        """Cut what is to be taken in into batches, in order: of one if large, of many if small."""
        batches: list[list[InboxFile | Delivery]] = []
        room = files_left = 0
        due: Batch = [*deliveries, *files]
        for one in due:
            size = self._text_bytes(one)
            if size > room or not files_left:
                batches.append([])
                room, files_left = self.settings.batch_bytes, self.settings.batch_files
            batches[-1].append(one)
            room -= size
            files_left -= 1
        return batches

    def _text_bytes(self, one: InboxFile | Delivery) -> int:
        """About how large a file is when unpacked."""
        with suppress(OSError, LandingError):  # It is gone, or may not be read: landing it tells.
            if isinstance(one, Delivery):
                packed = is_packed(one.path)
            else:
                packed = is_packed_head(self._inbox_source(one).head(MAGIC_BYTES))
            if packed:
                return one.size_bytes * _UNPACKED_TO_PACKED
        return one.size_bytes

    def _landed(
        self, batch: Batch, log: logging.Logger
    ) -> tuple[list[Delivery], list[Ingested | NotLanded]]:
        """The deliveries of a batch, and what could not be landed."""
        landed: list[Delivery] = []
        missing: list[Ingested | NotLanded] = []
        for one in batch:
            if isinstance(one, Delivery):
                landed.append(one)
                continue
            try:
                landed.append(self.land(self._inbox_source(one), one.partition_key, log))
            except LandingError as error:
                missing.append(NotLanded.because_of(error, one.partition_key))
        return landed, missing

    @property
    def free_bytes(self) -> int:
        """Left on the disk of the data folder, also where that is still to be made."""
        folder = self.settings.data_dir
        there = next(one for one in (folder, *folder.parents) if one.exists())
        return shutil.disk_usage(there).free

    # For readers

    def publish(self, log: logging.Logger, *, at_once: bool = False) -> None:
        """Publish the tables where they have changed and it is due, without waiting for anybody.

        What stands against it harms nobody: the copy from before stays until the next time.

        Args:
            log: is told of it.
            at_once: though it may not be due, and others are waited for: what was taken out is to
                be out of the copy, too.
        """
        published = self.published
        wanted = (published.share or published.path.exists()) if at_once else published.is_due()
        if not (wanted and published.is_outdated):
            return
        try:
            if not at_once:
                published = replace(published, warehouse=self.warehouse.at_once)
            published.publish(log)
        except (LfpError, duckdb.Error, OSError) as error:
            log.warning("The tables were not published; the copy from before stays. %s", error)


def _is_unfinished(
    landed: Landed, newest: Landed, status_of: Mapping[str, Status], id_: str | None
) -> bool:
    """Whether something is left to do about a delivery for whoever asks for its partition."""
    if landed.pruned and not landed.reverted:
        return False
    status = status_of.get(landed.delivery_id)
    return (
        status in {None, Status.FAILED}
        or (status is Status.REFUSED and landed == newest)
        # A run died after the commit: found to be in, it is noted where sensors look.
        or not landed.has_ended(id_)
    )


def _not_tried(delivery: Delivery) -> Ingested:
    error = "Not tried: the database is busy."
    return Ingested(delivery, Account(delivery.delivery_id, Status.FAILED, error=error), busy=True)
