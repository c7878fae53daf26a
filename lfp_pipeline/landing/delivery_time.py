"""Which time a version of a file gets: the newer version wins, and sources report wrong times.

A server may send one time with every version, or its local time as UTC. What is fetched later is
what the server has now, and so it is newer. The time of a file on this machine says when the file
was written; but no file was written after it landed.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.landing.sources import Fetched

_INSTANT = timedelta(microseconds=1)


def time_of_file(
    stated_at: datetime,
    now: datetime,
    newest: Delivery | None,
    is_taken: Callable[[datetime], bool],
) -> datetime:
    """Return the time of a version of a file that has not landed before.

    Args:
        stated_at: when the file was modified.
        now: when it lands.
        newest: the newest delivery of its partition.
        is_taken: whether another version has a time. Of two with the same, this one is newer.
    """
    if stated_at > now:
        return time_after(newest, now)
    moment = stated_at
    while is_taken(moment):
        moment += _INSTANT
    return moment


def time_of_fetched(
    fetched: Fetched, sha256: str, now: datetime, newest: Delivery | None, *, polled: bool
) -> datetime:
    """Return the time of what a server had: other bytes than the newest ones are newer.

    The newest bytes once more are the same delivery, unless the server gives them a newer time.

    Args:
        fetched: what the server says of the bytes.
        sha256: their digest, in hex.
        now: when they were fetched.
        newest: the newest delivery of their partition.
        polled: whether they are fetched again and again. Then the server's time does not count.
    """
    moment = min(fetched.modified or now, now)
    if newest is None:
        return moment
    is_newer = moment > newest.delivered_at
    if newest.sha256 == sha256 and (polled or fetched.modified is None or not is_newer):
        return newest.delivered_at
    return moment if is_newer else time_after(newest, now)


def time_after(newest: Delivery | None, now: datetime) -> datetime:
    """Return now, but after the newest delivery: also where the clock has stepped back since."""
    if newest is None:
        return now
    with suppress(OverflowError):  # There is a last moment.
        return max(now, newest.delivered_at + _INSTANT)
    return newest.delivered_at
