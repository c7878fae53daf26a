"""Operator tasks. Each makes a plan, which a dry run reports, and applies the plan."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What an operation has done, or would do.

    Attributes:
        summary: a sentence or more, for people.
        figures: numbers and texts, by name.
        problems: one line for each problem found; empty if there is none.
    """

    summary: str
    figures: Mapping[str, int | float | str]
    problems: tuple[str, ...] = ()
