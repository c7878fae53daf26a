"""The inbox as a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lfp_pipeline.errors import UnreadableError
from lfp_pipeline.sources.inbox import QUIET_SECONDS, InboxFile, Listing, list_inbox
from lfp_pipeline.sources.inbox_source import InboxSource, select_ready_files


@dataclass(frozen=True)
class FolderInbox:
    """A folder into which files are dropped.

    Attributes:
        stable_seconds: a file that has not changed within this time is complete; None: as soon as
            the kernel confirms that no program has it open for writing.
        ignored: patterns of ignored files, beside the built-in ones.
    """

    folder: Path
    stable_seconds: float | None
    ignored: Sequence[str]

    def list_files(self) -> Listing:
        """List the folder with its sub-folders; raise LandingError if it cannot be read."""
        stable = self.stable_seconds
        return list_inbox(
            self.folder,
            stable_seconds=QUIET_SECONDS if stable is None else stable,
            is_closed=self._is_closed if stable is None else None,
            ignored=self.ignored,
        )

    def source(self, file: InboxFile) -> InboxSource:
        """Return a listed file as a source."""
        return InboxSource(self.folder, file)

    def set_apart(self, listing: Listing, due: Sequence[InboxFile], limit: int | None) -> Listing:
        """Return a listing of which only the due files that can land now are ready."""
        return select_ready_files(self.folder, listing, due, limit)

    def _is_closed(self, file: InboxFile) -> bool:
        try:
            return self.source(file).is_being_written() is False
        except UnreadableError:  # Shown as skipped once the file is due.
            return False
