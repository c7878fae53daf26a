"""Feeds: sources that are polled. A poll looks for an update, and a run then reads the update.

No update is lost. A sense server may report an update only once. So a poll counts as an update if
it may have reached the server, and the answer was no clear `no`. An update counts until a read has
landed that began after the update.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from filelock import FileLock, Timeout

from lfp_pipeline.common.backoff import Backoff, is_backing_off
from lfp_pipeline.errors import LandingError, RequestNotSentError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import DownloadLimits, Version
from lfp_pipeline.sources.feed_state import FeedStateStore
from lfp_pipeline.sources.redaction import redacting
from lfp_pipeline.sources.sources_file import NamedSource
from lfp_pipeline.sources.wrapped_source import WrappedSource

_LONGEST_PAUSE_SECONDS = 600.0
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A longer pause that a server asks for is cut to this one."""

_NO = frozenset({"0", "false", "no", "none", "null", "unchanged"})
_ANSWER_KEYS = ("changed", "news", "new", "updated", "status")


@dataclass(frozen=True)
class Feed(WrappedSource):
    """A named source with an interval, and the state of its polls.

    Attributes:
        memory: results of earlier polls and reads.
    """

    entry: NamedSource
    memory: FeedStateStore
    limits: DownloadLimits

    @property
    def key(self) -> str:
        """The partition of the feed."""
        return self.entry.name

    @property
    def interval(self) -> float:
        """Seconds between polls."""
        return self.entry.interval or 0.0

    @contextmanager
    def acknowledging_updates(self) -> Iterator[None]:
        """Mark the updates known at the begin of the block as read, once the block has landed."""
        updates = self.memory.polls.updates
        yield
        self.memory.save_read(updates)

    @property
    def is_due(self) -> bool:
        """Whether the feed is to be polled now."""
        polls = self.memory.polls
        requested = min(polls.retry_after, _LONGEST_RETRY_AFTER_SECONDS)
        return not is_backing_off(polls.polled_at, max(self.pause_after(polls.failures), requested))

    def pause_after(self, failures: int) -> float:
        """Return the seconds until the next poll or read, after so many failures in a row."""
        backoff = Backoff(base=2 * self.interval, limit=_LONGEST_PAUSE_SECONDS)
        return max(self.interval, backoff.delay(failures))

    def poll(self) -> None:
        """Poll the server and save the result, unless another process is polling the feed.

        Raises:
            LandingError: the state cannot be written.
        """
        self.memory.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.memory.folder / f"{self.key}.lock", timeout=0)
        with suppress(Timeout), lock:
            self._poll()

    def _poll(self) -> None:
        polls = self.memory.polls.started(time.time(), self._location_digest())
        self.memory.save_poll(polls)
        try:
            updated, version = self._look_for_update(polls.version)
        except LandingError as error:
            polls = polls.finished(
                updated=self._may_have_reported(error),
                error=str(error),
                retry_after=error.retry_after,
            )
        else:
            polls = polls.finished(updated=updated, version=version)
        self.memory.save_poll(polls)

    def _location_digest(self) -> str:
        """Return a digest, because the location may contain secrets."""
        location = f"{self.entry.kind} {self.entry.location}"
        if self.entry.text_format != TextFormat():
            location += f" {self.entry.text_format}"  # With another format, the file lands again.
        return hashlib.sha256(location.encode()).hexdigest()

    def _look_for_update(self, known: Version | None) -> tuple[bool, Version | None]:
        """Return whether there is an update, and its version."""
        if self.entry.kind == "sense":
            # The import is slow, and most runs do not need it.
            from lfp_pipeline.sources.http_poll import get_once  # noqa: PLC0415

            location = self.entry.location.joined("sense")
            with redacting(location.names):
                body = get_once(location, self.limits)
            return is_update(body.decode(errors="replace")), None
        version = self.version(known)
        return version is None or version != known, version

    def _may_have_reported(self, error: LandingError) -> bool:
        """Return whether the server may have reported an update in an answer that was lost."""
        return self.entry.kind == "sense" and not isinstance(error, RequestNotSentError)


def is_update(body: str) -> bool:
    """Return whether a sense server reports an update; every answer but a clear `no` is one."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = body
    if isinstance(answer, dict):
        answer = next((answer[key] for key in _ANSWER_KEYS if key in answer), "unclear")
    return str(answer).strip().casefold() not in _NO
