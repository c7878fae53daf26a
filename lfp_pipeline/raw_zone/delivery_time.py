"""Choose the time of a version of a file. The newer version wins, and sources report wrong times.

A server may send one time with every version, or its local time as UTC. Bytes that are fetched
later are newer, because the server has them now. The time of a local file says when the file was
written, unless that is later than the landing.
"""

from collections.abc import Container
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from lfp_pipeline.model.delivery import parse_stamp
from lfp_pipeline.sources.base import Fetched

_INSTANT = timedelta(microseconds=1)


class Version(NamedTuple):
    """A landed version of a file: its time, and the first digits of its sha256."""

    delivered_at: datetime
    digest: str


def version_of(stem: str) -> Version:
    """Return the version that the stem of a delivery stands for."""
    time, _, digest = stem.partition("-")
    return Version(parse_stamp(time), digest)


def time_of_file(
    stated_at: datetime,
    now: datetime,
    newest: Version | None,
    same_time: Version | None,
    taken: Container[datetime],
) -> datetime:
    """Return the time of a version of a local file.

    Of two versions with the same time, the one that lands later is newer. If the time of the file,
    or of the newest version, is in the future, the file becomes the newest version.

    Args:
        stated_at: modification time of the file.
        same_time: the newest version with that modification time.
        taken: the times of other versions in the partition.
    """
    if stated_at > now or (newest and newest.delivered_at > now):
        return _time_after(newest, now)
    delivered_at = stated_at
    if same_time is not None:
        delivered_at = max(delivered_at, same_time.delivered_at + _INSTANT)
    while delivered_at in taken:
        delivered_at += _INSTANT
    return delivered_at


def time_of_fetched(
    fetched: Fetched, sha256: str, now: datetime, newest: Version | None, *, polled: bool
) -> datetime:
    """Return the time of fetched bytes: bytes that differ from the newest ones are newer.

    The newest bytes again are the same delivery. They are another one if the source is not polled,
    and the server gives them a newer time that is not in the future.
    """
    delivered_at = min(fetched.modified or now, now)
    if newest is None:
        return delivered_at
    is_newer = delivered_at > newest.delivered_at
    is_newest = sha256.startswith(newest.digest)
    if is_newest and (polled or not is_newer or delivered_at != fetched.modified):
        return newest.delivered_at
    return delivered_at if is_newer else _time_after(newest, now)


def _time_after(newest: Version | None, now: datetime) -> datetime:
    """Return now, or the time just after the newest version if the clock has stepped back."""
    if newest is None:
        return now
    with suppress(OverflowError):  # The newest version has the greatest possible time.
        return max(now, newest.delivered_at + _INSTANT)
    return newest.delivered_at
