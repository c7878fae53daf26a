"""Which time a version of a file gets: the newer version wins, and sources report wrong times.

A server may send one time with every version, or its local time as UTC. What is fetched later is
what the server has now, and so it is newer. The time of a file on this machine says when the file
was written; but no file was written after it landed.
"""

from collections.abc import Container
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from lfp_pipeline.model.delivery import parse_stamp
from lfp_pipeline.sources.base import Fetched

_INSTANT = timedelta(microseconds=1)


class Version(NamedTuple):
    """A version of a file that has landed: its time, and the first digits of its sha256."""

    delivered_at: datetime
    digest: str


def version_of(record_name: str) -> Version:
    """Return the version that a record is of, by the record's name."""
    time, _, digest = record_name.removesuffix(".json").partition("-")
    return Version(parse_stamp(time), digest)


def time_of_file(
    stated_at: datetime,
    now: datetime,
    newest: Version | None,
    same_time: Version | None,
    taken: Container[datetime],
) -> datetime:
    """Return the time of a version of a file.

    Of two with the same time, the one that lands later is newer. If the time of the file, or of the
    newest version, is in the future, the file is the newest version.

    Args:
        stated_at: when the file was modified.
        now: when it lands.
        newest: the newest version in its partition.
        same_time: the newest version that was modified at that time.
        taken: the times of other versions in its partition.
    """
    if stated_at > now or (newest and newest.delivered_at > now):
        return _time_after(newest, now)
    moment = stated_at
    if same_time is not None:
        moment = max(moment, same_time.delivered_at + _INSTANT)
    while moment in taken:
        moment += _INSTANT
    return moment


def time_of_fetched(
    fetched: Fetched, sha256: str, now: datetime, newest: Version | None, *, polled: bool
) -> datetime:
    """Return the time of what a server had: other bytes than the newest ones are newer.

    The newest bytes once more are the same delivery, unless the server gives them a newer time
    that is not of the future.

    Args:
        fetched: what the server says of the bytes.
        sha256: their digest, in hex.
        now: when they were fetched.
        newest: the newest version in their partition.
        polled: whether they are fetched again and again. Then the same bytes have no newer time.
    """
    moment = min(fetched.modified or now, now)
    if newest is None:
        return moment
    is_newer = moment > newest.delivered_at
    is_newest = sha256.startswith(newest.digest)
    if is_newest and (polled or not is_newer or moment != fetched.modified):
        return newest.delivered_at
    return moment if is_newer else _time_after(newest, now)


def _time_after(newest: Version | None, now: datetime) -> datetime:
    """Return now, but after the newest version: also where the clock has stepped back since."""
    if newest is None:
        return now
    with suppress(OverflowError):  # There is a last moment.
        return max(now, newest.delivered_at + _INSTANT)
    return newest.delivered_at
