"""State of a feed between polls: the updates that polls found, and the updates that have landed.

    feeds/<name>.json    written by polls: the number of updates so far, and more
    feeds/<name>.read    written by landings: the number of updates that the last landing includes

Where several hosts work together, these are notes in the catalog's database.

Updates are counted, not timestamped, because clocks step back. The poll is recorded before it is
sent, since a server may clear its flag once it has reported an update. A poll without a recorded
answer counts as an update.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError, LandingError, hint_for
from lfp_pipeline.hosts.notes import FileNote, Note, RowNote
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
    """The notes with the state of one feed.

    Each method raises a LandingError if a note cannot be read or written.

    Attributes:
        folder: folder of the files of all feeds.
        catalog: database that has the notes instead of the folder; None: there is none.
    """

    folder: Path
    name: str
    catalog: SecretStr | None = None

    @property
    def polls(self) -> PollState:
        """Result of the polls so far."""
        try:
            state = json.loads(self._read("json"))
            renamed = {old: new for new, old in _JSON_NAMES.items()}
            return PollState(**{renamed.get(name, name): value for name, value in state.items()})
        except (ValueError, TypeError, AttributeError):
            # The feed was never polled; or its note is lost or damaged: the next poll then sees
            # another location, which counts as an update.
            return PollState(updates=self.read)

    @property
    def read(self) -> int:
        """Number of updates that the last landing includes."""
        with suppress(ValueError):
            return int(self._read("read"))
        return 0

    @property
    def has_update(self) -> bool:
        """Whether an update has not landed yet."""
        return self.polls.updates != self.read

    def save_poll(self, polls: PollState) -> None:
        """Write the result of the polls. If that fails, the server must not be polled."""
        state = {_JSON_NAMES.get(name, name): value for name, value in asdict(polls).items()}
        self._write("json", json.dumps(state))

    def save_read(self, updates: int) -> None:
        """Write the number of updates that have landed."""
        self._write("read", str(updates))

    def _read(self, kind: str) -> str:
        with self._translating_errors(kind):
            return self._note(kind).read() or ""

    def _write(self, kind: str, text: str) -> None:
        with self._translating_errors(kind):
            self._note(kind).write(f"{text}\n")

    def _note(self, kind: str) -> Note:
        name = f"{self.name}.{kind}"
        if self.catalog is None:
            return FileNote(self.folder / name)
        return RowNote(self.catalog, f"feeds/{name}")

    @contextmanager
    def _translating_errors(self, kind: str) -> Iterator[None]:
        try:
            yield
        except CatalogUnreachableError as error:
            raise LandingError(str(error), permanent=False) from error
        except OSError as error:
            target = self.folder / f"{self.name}.{kind}"
            msg = f"{target} cannot be written: {error.strerror or error}. {hint_for(error)}"
            raise LandingError(msg.rstrip(), permanent=True) from error
