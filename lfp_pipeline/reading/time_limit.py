"""The time that reading one archive may take."""

import time

from lfp_pipeline.errors import ReadingTimeoutError


class TimeLimit:
    """A limit of time that begins when it is made; checked between the members of an archive."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise a ReadingTimeoutError if the time is over."""
        if time.monotonic() > self._end:
            msg = (
                f"Reading the members of the zip took more than {self._seconds:,.0f} s (setting "
                "LFP_MAX_ARCHIVE_SECONDS), and was stopped; nothing was merged. Raise the setting, "
                "or deliver the members in several zips."
            )
            raise ReadingTimeoutError(msg)
