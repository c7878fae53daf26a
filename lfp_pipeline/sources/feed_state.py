"""What is known of a feed between polls: that there is news, and which news was read.

    feeds/<name>.json    written by who polls: how many times there was news, and more
    feeds/<name>.read    written by who reads: the number of the news that is in what landed

News is counted, not timed: clocks step back. Before a server is asked, it is noted that it is; a
server may forget its news once it has told of it. So whoever dies between the question and the note
of the answer has had news, as far as the next one knows.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lfp_pipeline.common.atomic_files import commit_file, temporary_sibling
from lfp_pipeline.errors import LandingError, hint_for
from lfp_pipeline.sources.base import Version


@dataclass(frozen=True)
class PollState:
    """What came of the polls of a feed.

    Attributes:
        news: how many times there was news, or may have been.
        asking: whether the server is being asked.
        polled_at: when it was asked last, in seconds since the epoch.
        version: what the server called the version that was news last, for conditional requests.
        error: why the last poll failed.
        failures: how many have failed since the last that did not.
        place: a digest of where it was asked; another place has news.
        retry_after: for so many seconds after the last poll, the server asks not to be polled.
    """

    news: int = 0
    asking: bool = False
    polled_at: float = 0.0
    version: Version | None = None
    error: str | None = None
    failures: int = 0
    place: str = ""
    retry_after: float = 0.0

    def started(self, moment: float, place: str) -> "PollState":
        """A server is about to be asked.

        Who asked before and left no answer has had news, and so has who was never asked.
        """
        moved = self.place != place
        return replace(
            self,
            news=self.news + (self.asking or moved),
            asking=True,
            polled_at=moment,
            version=None if moved else self.version,
            place=place,
        )

    def finished(
        self,
        *,
        news: bool,
        version: Version | None = None,
        error: str | None = None,
        retry_after: float | None = None,
    ) -> "PollState":
        """The server has answered, or cannot have been asked."""
        version = version if news else self.version
        failures = self.failures + 1 if error else 0
        return replace(
            self,
            news=self.news + news,
            asking=False,
            version=version,
            error=error,
            failures=failures,
            retry_after=retry_after or 0.0,
        )


@dataclass(frozen=True)
class FeedStateStore:
    """The memory of one feed, in a folder with those of others."""

    folder: Path
    name: str

    @property
    def polls(self) -> PollState:
        """What came of the polls so far."""
        try:
            return PollState(**json.loads((self.folder / f"{self.name}.json").read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            # There is none yet; or one is lost or damaged, which may have told of more news.
            return PollState(news=self.read)

    @property
    def read(self) -> int:
        """The number of the news that is in what landed last."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / f"{self.name}.read").read_bytes())
        return 0

    @property
    def has_update(self) -> bool:
        """Whether there is news that did not land yet."""
        return self.polls.news != self.read

    def save_poll(self, polls: PollState) -> None:
        """Remember what came of a poll."""
        self._write("json", json.dumps(asdict(polls)))

    def save_read(self, news: int) -> None:
        """Remember that this news has landed."""
        self._write("read", str(news))

    def _write(self, suffix: str, text: str) -> None:
        """Replace a file of the memory, or leave it as it was.

        Raises:
            LandingError: it cannot be written. Who does not know what is remembered asks nobody.
        """
        target = self.folder / f"{self.name}.{suffix}"
        try:
            with temporary_sibling(target) as (file, temporary):
                file.write(text.encode() + b"\n")
                commit_file(file, temporary, target)
        except OSError as error:
            msg = f"{target} cannot be written: {error.strerror or error}. {hint_for(error)}"
            raise LandingError(msg.rstrip(), permanent=True) from error
