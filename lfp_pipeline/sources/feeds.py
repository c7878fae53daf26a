"""Feeds: sources that are polled. A poll asks whether there is news; a read fetches it.

No news is lost. A sense server may tell of its news once only, so whatever may have reached it and
was not clearly answered with `no` counts as news; and news counts until a read that began after it
has landed.
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
from lfp_pipeline.sources.redaction import veiled
from lfp_pipeline.sources.sources_file import NamedSource
from lfp_pipeline.sources.wrapped_source import WrappedSource

_LONGEST_PAUSE_SECONDS = 600.0
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A server that asks for a longer pause between polls is polled after this one."""

_NO = frozenset({"0", "false", "no", "none", "null", "unchanged"})
_TOLD_BY = ("changed", "news", "new", "updated", "status")


@dataclass(frozen=True)
class Feed(WrappedSource):
    """A named source with an interval, and what is remembered of it.

    Attributes:
        entry: what the sources file says of it.
        memory: what came of earlier polls and reads.
        limits: for questions.
    """

    entry: NamedSource
    memory: FeedStateStore
    limits: DownloadLimits

    @property
    def key(self) -> str:
        """The partition that it feeds."""
        return self.entry.name

    @property
    def interval(self) -> float:
        """Seconds between polls."""
        return self.entry.interval or 0.0

    @contextmanager
    def acknowledging_updates(self) -> Iterator[None]:
        """Around a landing: the news known at its begin is read once it has landed."""
        news = self.memory.polls.news
        yield
        self.memory.save_read(news)

    @property
    def is_due(self) -> bool:
        """Whether the feed is to be polled now."""
        polls = self.memory.polls
        requested = min(polls.retry_after, _LONGEST_RETRY_AFTER_SECONDS)
        return not is_backing_off(polls.polled_at, max(self.pause_after(polls.failures), requested))

    def pause_after(self, failures: int) -> float:
        """The seconds until the next poll, or read, after so many in a row have failed."""
        backoff = Backoff(base=2 * self.interval, limit=_LONGEST_PAUSE_SECONDS)
        return max(self.interval, backoff.delay(failures))

    def poll(self) -> None:
        """Ask for news, and remember the answer; unless another process is at it."""
        self.memory.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.memory.folder / f"{self.key}.lock", timeout=0)
        with suppress(Timeout), lock:
            self._poll()

    def _poll(self) -> None:
        place = f"{self.entry.kind} {self.entry.location}"
        if self.entry.text_format != TextFormat():
            place += f" {self.entry.text_format}"  # With another one, the file is landed again.
        # A digest, because there may be secrets in it.
        place = hashlib.sha256(place.encode()).hexdigest()
        polls = self.memory.polls.started(time.time(), place)
        self.memory.save_poll(polls)
        try:
            news, version = self._ask(polls.version)
        except LandingError as error:
            polls = polls.finished(
                news=self._may_have_told(error), error=str(error), retry_after=error.retry_after
            )
        else:
            polls = polls.finished(news=news, version=version)
        self.memory.save_poll(polls)

    def _ask(self, known: Version | None) -> tuple[bool, Version | None]:
        """Whether there is news, and what its version is called."""
        if self.entry.kind == "sense":
            # It takes long to import, and most runs do without.
            from lfp_pipeline.sources.http_poll import ask  # noqa: PLC0415

            location = self.entry.location.joined("sense")
            with veiled(location.names):
                reply = ask(location, {}, self.limits)
            return is_update(reply.body.decode(errors="replace")), None
        version = self.version(known)
        return version is None or version != known, version

    def _may_have_told(self, error: LandingError) -> bool:
        """Whether a question without an answer may have made the server forget its news."""
        return self.entry.kind == "sense" and not isinstance(error, RequestNotSentError)


def is_update(body: str) -> bool:
    """Whether a sense server tells of news: in JSON or in a word. What is not clearly no, is."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = body
    if isinstance(told, dict):
        told = next((told[name] for name in _TOLD_BY if name in told), "unclear")
    return str(told).strip().casefold() not in _NO
