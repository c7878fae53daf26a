"""State of a feed between polls: the updates that polls found, and the updates that have landed.

    feeds/<name>.json    written by polls: the number of updates so far, and more
    feeds/<name>.read    written by landings: the number of updates that the last landing includes

Updates are counted, not timestamped, because clocks step back. The poll is recorded before it is
sent, since a server may clear its flag once it has reported an update. A poll without a recorded
answer counts as an update.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lfp_pipeline.common.atomic_files import write_file
from lfp_pipeline.errors import LandingError, hint_for
from lfp_pipeline.sources.base import Version

_JSON_NAMES = {"updates": "news", "in_progress": "asking", "location_digest": "place"}
"""Names in the file of the fields that have another name there."""


@dataclass(frozen=True)
class PollState:
    """Result of the polls of a feed so far.

    Attributes:
        updates: number of polls that found an update, or may have.
        in_progress: whether a poll has been sent whose answer is not recorded.
        polled_at: time of the last poll, in seconds since the epoch.
        version: version that the server reported with the last update, for conditional requests.
        error: why the last poll failed; None: it did not.
        failures: number of polls in a row that have failed.
        location_digest: digest of the polled location. Another location counts as an update.
        retry_after: pause after the last poll that the server asks for, in seconds.
    """

    updates: int = 0
    in_progress: bool = False
    polled_at: float = 0.0
    version: Version | None = None
    error: str | None = None
    failures: int = 0
    location_digest: str = ""
    retry_after: float = 0.0

    def started(self, now: float, location_digest: str) -> "PollState":
        """Return the state before a poll is sent.

        A previous poll without an answer counts as an update, and so does a new location.
        """
        moved = self.location_digest != location_digest
        return replace(
            self,
            updates=self.updates + (self.in_progress or moved),
            in_progress=True,
            polled_at=now,
            version=None if moved else self.version,
            location_digest=location_digest,
        )

    def finished(
        self,
        *,
        updated: bool,
        version: Version | None = None,
        error: str | None = None,
        retry_after: float | None = None,
    ) -> "PollState":
        """Return the state after the server has answered, or the poll has failed."""
        return replace(
            self,
            updates=self.updates + updated,
            in_progress=False,
            version=version if updated else self.version,
            error=error,
            failures=self.failures + 1 if error else 0,
            retry_after=retry_after or 0.0,
        )


@dataclass(frozen=True)
class FeedStateStore:
    """Files with the state of one feed.

    Attributes:
        folder: folder of the files of all feeds.
    """

    folder: Path
    name: str

    @property
    def polls(self) -> PollState:
        """Result of the polls so far."""
        try:
            state = json.loads((self.folder / f"{self.name}.json").read_bytes())
            renamed = {old: new for new, old in _JSON_NAMES.items()}
            return PollState(**{renamed.get(name, name): value for name, value in state.items()})
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            # The feed was never polled; or its file is lost or damaged: the next poll then sees
            # another location, which counts as an update.
            return PollState(updates=self.read)

    @property
    def read(self) -> int:
        """Number of updates that the last landing includes."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / f"{self.name}.read").read_bytes())
        return 0

    @property
    def has_update(self) -> bool:
        """Whether an update has not landed yet."""
        return self.polls.updates != self.read

    def save_poll(self, polls: PollState) -> None:
        """Write the result of the polls.

        Raises:
            LandingError: the file cannot be written. The server must not be polled then.
        """
        state = {_JSON_NAMES.get(name, name): value for name, value in asdict(polls).items()}
        self._write("json", json.dumps(state))

    def save_read(self, updates: int) -> None:
        """Write the number of updates that have landed; raise LandingError if that fails."""
        self._write("read", str(updates))

    def _write(self, suffix: str, text: str) -> None:
        target = self.folder / f"{self.name}.{suffix}"
        try:
            write_file(target, text.encode() + b"\n")
        except OSError as error:
            msg = f"{target} cannot be written: {error.strerror or error}. {hint_for(error)}"
            raise LandingError(msg.rstrip(), permanent=True) from error
