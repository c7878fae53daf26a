"""Timestamps: UTC without a time zone, with microseconds."""

from datetime import UTC, datetime, timedelta

# All timestamps of the package are UTC without a zone.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_EARLIEST, _LATEST = datetime.min, datetime.max  # noqa: DTZ901


def utc_from_ns(nanoseconds: int) -> datetime:
    """Return a file time as UTC without a zone, cut to the microsecond.

    File systems allow years after 9999; these become the latest timestamp that Python has.

    Args:
        nanoseconds: since the epoch. An integer, because a float is not exact.
    """
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST if nanoseconds > 0 else _EARLIEST


def utc_from_zone(timestamp: datetime) -> datetime:
    """Return a timestamp as UTC without a zone; one without a zone is UTC already.

    Raises:
        OverflowError: the timestamp is outside Python's range in UTC.
    """
    return timestamp.replace(tzinfo=timestamp.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)


def utc_now() -> datetime:
    """Return the current time in UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)
