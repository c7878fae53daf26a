"""Up to when an instance shows what runs have done, as a time in a file of its Dagster home.

A run that is killed or interrupted may have changed the tables without showing it. Each run that
shows the tables moves the time, and first shows what is younger and missing. Each home has a time
of its own, because several instances may use one data folder. This module imports no Dagster.
"""

import logging
import time
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.common.atomic_files import write_file
from lfp_pipeline.errors import user_message
from lfp_pipeline.raw_zone.raw_index import RawIndex

_LOG = logging.getLogger(__name__)


def begin_showing(home: Path, index: RawIndex) -> None:
    """Let a home that has no time yet begin with the present deliveries."""
    if not _file(home).exists():
        save_shown_until(home, index.last_noted_ns())


def unshown(home: Path, index: RawIndex) -> list[tuple[str, str]]:
    """Return id and status of the deliveries that may have changed unseen, the latest last."""
    with suppress(OSError, ValueError):  # Without a time, nothing is known to be missing.
        # A time in the future would hide all changes until then.
        since = min(int(_file(home).read_text()), time.time_ns())
        return index.noted_since(since)
    return []


def save_shown_until(home: Path, time_ns: int) -> None:
    """Save that the instance shows everything that was noted until then."""
    try:
        write_file(_file(home), str(time_ns).encode())
    except OSError as error:  # The next run looks at the same deliveries again.
        _LOG.warning("%s could not be written: %s", _file(home), user_message(error))


def _file(home: Path) -> Path:
    return home / "lfp_shown_until"
