"""Points in time: always in UTC, without a zone, to the microsecond."""

from datetime import UTC, datetime, timedelta

# All our moments are UTC without a zone.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


_EARLIEST, _LATEST = datetime.min, datetime.max  # noqa: DTZ901


def utc_from_ns(nanoseconds: int) -> datetime:
    """A file time as UTC without a zone, cut to the microsecond, exactly (floats are not).

    File systems know years after 9999; they become the last moment that we can write.
    """
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST if nanoseconds > 0 else _EARLIEST


def utc_from_zone(moment: datetime) -> datetime:
    """A moment as UTC without a zone; where it has no zone, it is UTC.

    Raises:
        OverflowError: there is no such time in UTC.
    """
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)


def utc_now() -> datetime:
    """Now, in UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)
