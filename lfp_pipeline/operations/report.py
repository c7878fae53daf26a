"""What an operation has done, or would do."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """For people, and in figures.

    Attributes:
        summary: a sentence or more.
        figures: by name, numbers and texts.
        problems: what is not as it should be, a line each; none where all is well.
    """

    summary: str
    figures: Mapping[str, int | float | str]
    problems: tuple[str, ...] = ()
