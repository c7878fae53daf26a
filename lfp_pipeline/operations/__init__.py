"""Operator tasks. Each makes a plan, which a dry run reports, and applies the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfp_pipeline.model.delivery import Delivery

Figures = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Report:
    """What an operation has done, or would do.

    Attributes:
        summary: a sentence or more, for people.
        figures: numbers and texts, by name.
        problems: one line for each problem found; empty if there is none.
        changed: the deliveries whose state in the tables has changed; None: any may have.
    """

    summary: str
    figures: Figures
    problems: tuple[str, ...] = ()
    changed: Sequence[Delivery] | None = ()
