"""What a round reports: its figures, and what it found."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """The extent of a round.

    Attributes:
        seed: of all random choices.
        minutes: of rounds that last for a time.
        times: of rounds that repeat something: how often.
        first: the number of the first lake.
        show: called with a line for people now and then.
        fence: whether the lake keeps its fence; without it, the zombie round must find violations.
    """

    seed: int
    minutes: float
    times: int
    first: int
    show: Callable[[str], None]
    fence: bool = True


@dataclass
class Report:
    """The result of a round.

    Attributes:
        lines: figures, in Markdown.
        violations: what must not be, with what repeats it.
    """

    lines: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
