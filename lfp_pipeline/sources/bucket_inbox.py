"""The inbox as a prefix in a bucket. An object is complete as soon as a listing shows it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from itertools import islice
from operator import attrgetter
from pathlib import PurePosixPath

from lfp_pipeline.common.clock import microseconds, utc_from_ns
from lfp_pipeline.common.ignored_names import IgnoredNames
from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import LandingError
from lfp_pipeline.hosts.bucket import Bucket, BucketObject
from lfp_pipeline.sources.base import Fetched, OnProgress, Sink, Version
from lfp_pipeline.sources.inbox import InboxFile, Listing

_MILLISECOND_NS = 10**6
_SECOND_NS = 10**9


@dataclass(frozen=True)
class BucketInbox:
    """A prefix in a bucket into which files are put; `/` in their names divides folders."""

    bucket: Bucket
    ignored: Sequence[str] = ()

    def list_files(self) -> Listing:
        """List the inbox with its sub-folders, oldest file first.

        Raises:
            LandingError: the bucket cannot be listed. Such an inbox is never an empty one.
        """
        started, is_ignored = time.time(), IgnoredNames(self.ignored).match
        ready: list[InboxFile] = []
        ignored: set[str] = set()
        for found in self.bucket.objects():
            if not found.name or found.name.endswith("/"):  # A console's mark of a folder.
                continue
            above = [str(folder) for folder in reversed(PurePosixPath(found.name).parents)][1:]
            folders = [f"{name}/" for name in above if is_ignored(name, is_folder=True)]
            if folders:
                ignored.add(folders[0])
            elif is_ignored(found.name, is_folder=False):
                ignored.add(found.name)
            else:
                ready.append(_inbox_file(found, self.bucket.url(found.name)))
        return Listing(
            ready=tuple(sorted(ready, key=attrgetter("mtime_ns", "name"))),
            still_writing=(),
            ignored=tuple(sorted(ignored, key=lambda name: (not name.endswith("/"), name))),
            started=started,
        )

    def source(self, file: InboxFile) -> "BucketInboxSource":
        """Return a listed file as a source."""
        return BucketInboxSource(self.bucket, file)

    def set_apart(self, listing: Listing, due: Sequence[InboxFile], limit: int | None) -> Listing:
        """Return a listing whose ready files are the due files, up to a limit."""
        return replace(listing, ready=tuple(islice(due, limit)))


@dataclass(frozen=True)
class BucketInboxSource:
    """A file of the inbox in a bucket, in the listed version."""

    bucket: Bucket
    file: InboxFile

    @property
    def name(self) -> str:
        """The URL, printable."""
        return printable(self.file.location)

    def version(self, known: Version | None) -> Version | None:
        """Return the listed modification time and size."""
        del known
        return {"mtime_ns": str(self.file.mtime_ns), "size": str(self.file.size_bytes)}

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Copy the file.

        Raises:
            LandingError: the file is not the listed version, or cannot be read.
        """
        size, done = self.file.size_bytes, 0
        try:
            for chunk in self.bucket.read(self._object):
                sink.write(chunk)
                done += len(chunk)
                on_progress(done, size)
        except FileNotFoundError:
            raise self._replaced() from None
        if not size:
            self.require_readable()
        modified = utc_from_ns(self.file.mtime_ns)
        return Fetched(modified, is_file_time=True, ctime_ns=self.file.ctime_ns)

    def head(self, size: int) -> bytes:
        """Return the first bytes of the file.

        Raises:
            LandingError: the file is not the listed version, or cannot be read.
        """
        try:
            return b"".join(self.bucket.read(self._object, size))
        except FileNotFoundError:
            raise self._replaced() from None

    def require_readable(self) -> None:
        """Raise a LandingError if the file is not the listed version, or cannot be read."""
        found = self.bucket.look_up(self.file.name)
        if found is None or found.etag != self.file.etag:
            raise self._replaced()

    @property
    def _object(self) -> BucketObject:
        file = self.file
        return BucketObject(file.name, file.size_bytes, utc_from_ns(file.mtime_ns), file.etag)

    def _replaced(self) -> LandingError:
        msg = (
            f"{self.name} is not the file that was listed any more: it is gone, or was replaced. "
            "The next run that lists the inbox ingests the present file."
        )
        return LandingError(msg, permanent=False)


def _inbox_file(found: BucketObject, url: str) -> InboxFile:
    """Return an object as a file of the inbox.

    Its ctime is the last moment at which the object may have been put there: a server that states
    whole seconds cuts off the rest. Thus a file that was put after a pruning never seems older
    than the pruning. The digits below milliseconds are a digest of the etag, so the ctimes of two
    objects that were put there in the same moment differ.
    """
    modified_ns = _milliseconds_ns(found.modified)
    unstated_ns = 0 if modified_ns % _SECOND_NS else _SECOND_NS - _MILLISECOND_NS
    digest = int.from_bytes(sha256(found.etag.encode()).digest()[:8], "big") % _MILLISECOND_NS
    ctime_ns = modified_ns + unstated_ns + digest
    return InboxFile(found.name, url, found.size_bytes, modified_ns, ctime_ns, etag=found.etag)


def _milliseconds_ns(time: datetime) -> int:
    return microseconds(time) // 1000 * _MILLISECOND_NS
