"""How a figure goes over time: its quarters, its slope, and whether it stays where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median, quantiles

_QUARTERS = 4
_MORE_SHARE = 0.10
_MORE_BYTES = 20 * 2**20


@dataclass(frozen=True)
class Trend:
    """How a figure went.

    Attributes:
        quarters: its median in each quarter of the time.
        slope: by how much it grew an hour, by a linear fit.
        slope_of_second_half: the same, once it is warm.
    """

    quarters: tuple[float, ...]
    slope: float
    slope_of_second_half: float

    @property
    def is_flat(self) -> bool:
        """Whether it is, in the last quarter, about what it was in the second, in bytes."""
        _, second, *_, last = self.quarters
        return last <= second * (1 + _MORE_SHARE) + _MORE_BYTES


def trend_of(times: Sequence[float], values: Sequence[float]) -> Trend:
    """How values went that were seen at these times, in seconds; eight at least."""
    start, end = times[0], times[-1]
    parts: list[list[float]] = [[] for _ in range(_QUARTERS)]
    for moment, value in zip(times, values, strict=True):
        part = int((moment - start) / (end - start) * _QUARTERS)
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
    """What so many of a hundred values do not exceed; two values at least."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
