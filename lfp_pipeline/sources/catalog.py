"""The sources of a data folder: its inbox, and what its sources file names."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from lfp_pipeline.common.clock import microseconds_of
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import LandingError, StillWrittenError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.base import DownloadLimits, Source
from lfp_pipeline.sources.bucket_inbox import BucketInbox, BucketInboxSource
from lfp_pipeline.sources.feed_state import FeedStateStore
from lfp_pipeline.sources.feeds import Feed
from lfp_pipeline.sources.folder_inbox import FolderInbox
from lfp_pipeline.sources.inbox import (
    GROWING_SECONDS,
    QUIET_SECONDS,
    SETTLE_SECONDS,
    InboxFile,
    Listing,
)
from lfp_pipeline.sources.inbox_source import InboxSource
from lfp_pipeline.sources.locations import source_at
from lfp_pipeline.sources.network_policy import NetworkPolicy
from lfp_pipeline.sources.sources_file import NamedSource, read_sources

_REQUESTS_AT_ONCE = 8


class SourceCatalog:
    """Finds sources by location, by partition, in the sources file and in the inbox."""

    def __init__(
        self, settings: Settings, newest_versions: Callable[[Collection[str]], Mapping[str, int]]
    ) -> None:
        """Use settings, and the times of the newest versions of partitions, in microseconds."""
        self._settings = settings
        self._newest_versions = newest_versions
        self._inbox: FolderInbox | BucketInbox
        if settings.inbox_place.startswith(BUCKET):
            bucket = Bucket(settings.inbox_place, "LFP_INBOX")
            self._inbox = BucketInbox(bucket, settings.ignored_files)
        else:
            stable, ignored = settings.inbox_stable_seconds, settings.ignored_files
            self._inbox = FolderInbox(settings.inbox_dir, stable, ignored)

    @property
    def inbox_dir(self) -> Path:
        """The folder of the inbox."""
        return self._settings.inbox_dir

    @property
    def files_at_once(self) -> int:
        """How many files of the inbox to read at once: each request to a bucket takes its time."""
        return _REQUESTS_AT_ONCE if isinstance(self._inbox, BucketInbox) else 1

    def source_at(self, location: str) -> Source:
        """Return the source at a URL or path; raise LandingError if the location is neither."""
        return source_at(location, self._download_limits)

    def named_sources(self, keys: Sequence[str]) -> dict[str, Source]:
        """Return the sources that the sources file names for partitions, by partition key.

        Raises:
            LandingError: a location in the sources file is neither a URL nor a path.
            SettingsError: the sources file is wrong.
        """
        named = read_sources(self._settings.sources_path)
        return {key: self._source_of(named[key]) for key in keys if key in named}

    def feeds(self) -> tuple[list[Feed], list[str]]:
        """Return the sources that are polled, and a problem for each source with a wrong location.

        Raises:
            SettingsError: the sources file is wrong.
        """
        feeds, problems = [], []
        for named in read_sources(self._settings.sources_path).values():
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
            location = location.joined("read")
        source = source_at(location, self._download_limits, named.sha256, named.text_format)
        if named.interval is None:
            return source
        settings = self._settings
        memory = FeedStateStore(settings.feeds_dir, named.name, settings.catalog)
        return Feed(source, named, memory, self._download_limits)

    @property
    def _download_limits(self) -> DownloadLimits:
        return DownloadLimits(
            self._settings.download_attempts,
            self._settings.download_timeout_seconds,
            self._settings.max_download_bytes,
            NetworkPolicy(self._settings.allowed_hosts),
        )

    def list_inbox(self) -> Listing:
        """List the inbox as it is now.

        A file that has just changed is complete as soon as the kernel confirms that no program has
        the file open for writing, unless a setting has another rule. A file that grows again and
        again is complete after the quiet time.

        Raises:
            LandingError: the inbox cannot be read.
        """
        listing = self._inbox.list_files()
        return self._without_growing_files(listing) if self._may_files_grow else listing

    @property
    def _may_files_grow(self) -> bool:
        is_folder = isinstance(self._inbox, FolderInbox)
        return is_folder and self._settings.inbox_stable_seconds is None

    def _without_growing_files(self, listing: Listing) -> Listing:
        changed = [
            file
            for file in listing.ready  # A ctime in the future proves no recent change.
            if abs(listing.started - file.ctime_ns / 1e9) < QUIET_SECONDS
        ]
        newest = self._newest_versions({file.partition_key for file in changed}) if changed else {}
        younger_us = {
            file: microseconds_of(file.mtime_ns) - newest.get(file.partition_key, -inf)
            for file in changed
        }
        growing = {file for file, us in younger_us.items() if 0 < us < GROWING_SECONDS * 1e6}
        if not growing:
            return listing
        return replace(
            listing,
            ready=tuple(file for file in listing.ready if file not in growing),
            still_writing=tuple(sorted([*listing.still_writing, *(file.name for file in growing)])),
        )

    @property
    def complete_after_seconds(self) -> float:
        """The time since its last change after which a file can be listed as complete."""
        stable = self._settings.inbox_stable_seconds
        return SETTLE_SECONDS if stable is None else stable

    def list_stable_files(
        self, log: logging.Logger, keys: Collection[str] | None = None
    ) -> Listing:
        """List the inbox; files that are still being written get one quiet period to complete.

        Args:
            log: for warnings.
            keys: the partitions whose files are waited for; None: all.
        """

        def written() -> list[str]:
            names = listing.still_writing
            return [name for name in names if keys is None or partition_key(name) in keys]

        listing = self.list_inbox()
        stable = self._settings.inbox_stable_seconds
        for pause in (SETTLE_SECONDS, QUIET_SECONDS) if stable is None else (stable,):
            if written():
                time.sleep(pause)
                listing = self.list_inbox()
        if names := written():
            log.warning("Left alone, still being written: %s", names[:10])
        return listing

    def inbox_sources(self, keys: Sequence[str], log: logging.Logger) -> dict[str, Source]:
        """Return the inbox files of partitions, by partition key, as far as they exist.

        Raises:
            LandingError: the inbox cannot be read, or one of the files is still being written.
        """
        listing = self.list_stable_files(log, set(keys))
        self.log_left_out(listing, log)
        if busy := {partition_key(name) for name in listing.still_writing} & set(keys):
            msg = f"{', '.join(sorted(busy))}: still being written. Try again once that has ended."
            raise StillWrittenError(msg)
        files = {file.partition_key: file for file in listing.ready}
        return {key: self.inbox_source(files[key]) for key in keys if key in files}

    def inbox_source(self, file: InboxFile) -> InboxSource | BucketInboxSource:
        """Return a listed file of the inbox as a source."""
        return self._inbox.source(file)

    def set_apart(
        self, listing: Listing, due: Sequence[InboxFile], limit: int | None = None
    ) -> Listing:
        """Return a listing whose ready files are those of its due files that can land now.

        Of these, it has the first ones, up to a limit.
        """
        return self._inbox.set_apart(listing, due, limit)

    def log_left_out(self, listing: Listing, log: logging.Logger) -> None:
        """Log the skipped and ignored entries of a listing."""
        if listing.left_out:
            level = logging.WARNING if listing.skipped else logging.INFO
            log.log(level, "In the inbox %s: %s.", self._settings.inbox_place, listing.left_out)
