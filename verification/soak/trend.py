"""The trend of a figure over time: its quarters, its slope, and whether it is flat."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median, quantiles

_QUARTERS = 4
_MORE_SHARE = 0.10
_MORE_BYTES = 20 * 2**20


@dataclass(frozen=True)
class Trend:
    """The trend of a figure.

    Attributes:
        quarters: the median in each quarter of the time.
        slope: growth per hour, by a linear fit.
        slope_of_second_half: the same, after the servers have warmed up.
    """

    quarters: tuple[float, ...]
    slope: float
    slope_of_second_half: float

    @property
    def is_flat(self) -> bool:
        """Whether a figure in bytes is about the same in the last quarter as in the second."""
        _, second, *_, last = self.quarters
        return last <= second * (1 + _MORE_SHARE) + _MORE_BYTES


def trend_of(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Return the trend of at least eight values, measured at these times, in seconds."""
    start, end = times[0], times[-1]
    parts: list[list[float]] = [[] for _ in range(_QUARTERS)]
    for at, value in zip(times, values, strict=True):
        part = int((at - start) / (end - start) * _QUARTERS)
        parts[min(part, _QUARTERS - 1)].append(value)
    half = len(times) // 2
    return Trend(
        tuple(median(part) for part in parts),
        _slope(times, values),
        _slope(times[half:], values[half:]),
    )


def _slope(times: Sequence[float], values: Sequence[float]) -> float:
    return linear_regression(times, values).slope * 3600


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of at least two values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
