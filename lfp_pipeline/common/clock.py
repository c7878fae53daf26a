"""Timestamps, all UTC without a time zone, with microseconds."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_EARLIEST, _LATEST = datetime.min, datetime.max  # noqa: DTZ901
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST_US, _LATEST_US = (_EARLIEST - _EPOCH) // _MICROSECOND, (_LATEST - _EPOCH) // _MICROSECOND


def utc_from_ns(nanoseconds: int) -> datetime:
    """Return a file time in nanoseconds as UTC without a zone, cut to the microsecond.

    File systems allow years after 9999; these become the latest timestamp that Python has.
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


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def microseconds_of(file_time_ns: int) -> int:
    """Return a file time as microseconds since 1970, limited as in `utc_from_ns`."""
    time_us = file_time_ns // 1000
    if _EARLIEST_US <= time_us <= _LATEST_US:  # `min` and `max` take four times as long.
        return time_us
    return _EARLIEST_US if time_us < 0 else _LATEST_US
