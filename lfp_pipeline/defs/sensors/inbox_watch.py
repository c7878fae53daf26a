"""Watches the inbox for the inbox sensor, at little cost."""

import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from lfp_pipeline.sources.catalog import SourceCatalog
from lfp_pipeline.sources.inbox import Listing

_LOOK_SECONDS = 0.1
_TIME_SHARE = 0.02
"""Largest share of the time for looking at folders, for listing the inbox because time has passed,
and for listing it because folders changed, though no file did that is to be ingested."""

_LONGEST_SETTLE_SECONDS = 1.0


class InboxWatch:
    """Lists the inbox again and again, and waits for another listing.

    A file that is moved into a folder changes the mtime of the folder. A file that is written in
    place, or closed, changes nothing but itself, which only a listing shows. So a listing is due
    when the mtime of a folder changes, and otherwise as often as listings are cheap.

    Files that are dropped together are listed together: while files are settling, the listing is
    repeated for a moment.
    """

    def __init__(self, catalog: SourceCatalog) -> None:
        self._catalog = catalog
        self._root = f"{catalog.inbox_dir}/"
        self.listing = self._list_settled()

    def wait(self, deadline: float, is_over: Callable[[], bool]) -> bool:
        """Wait until the listing has changed, or `is_over` holds; return False at the deadline.

        The end of the process is a deadline, too, because the process waits for its threads.

        Args:
            deadline: on the monotonic clock.
            is_over: another condition; cheap to check.
        """
        pause = _LOOK_SECONDS
        vain_seconds = _TIME_SHARE * (deadline - time.monotonic())
        with ThreadPoolExecutor(1) as probe:
            while (now := time.monotonic()) < deadline and not _is_ending(probe):
                time.sleep(min(pause, deadline - now))
                looked_at = time.monotonic()
                is_due = looked_at > self._listed_at + self._list_seconds / _TIME_SHARE
                has_moved = vain_seconds > 0 and self._have_folders_changed()
                pause = max(_LOOK_SECONDS, (time.monotonic() - looked_at) / _TIME_SHARE)
                before = self.listing
                if is_due or has_moved:
                    if self._list() != before:
                        self._list_settled()
                        return True
                    vain_seconds -= 0 if is_due else self._list_seconds
                if is_over():
                    return True
        return False

    def _list_settled(self) -> Listing:
        give_up = time.monotonic() + _LONGEST_SETTLE_SECONDS
        while self._list().settling and time.monotonic() < give_up:
            time.sleep(_LOOK_SECONDS)
        return self.listing

    def _list(self) -> Listing:
        started = time.monotonic()
        self.listing = self._catalog.list_inbox()
        self._listed_at = time.monotonic()
        self._list_seconds = self._listed_at - started
        return self.listing

    def _have_folders_changed(self) -> bool:
        try:
            return any(
                Path(self._root + folder).stat().st_mtime_ns != mtime_ns
                for folder, mtime_ns in self.listing.folders.items()
            )
        except OSError:  # A folder is gone.
            return True


def _is_ending(probe: Executor) -> bool:
    """Return whether the process is ending: an executor accepts nothing then."""
    try:
        probe.submit(int)
    except RuntimeError:
        return True
    return False
