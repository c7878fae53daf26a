"""The plan of the faults: which one comes at which step of its victim, by the seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from verification.hosts.faults import NEEDS_CABLES, Fault

_OFTEN = (Fault.KILL, Fault.CUT)
_LAST_OCCURRENCE = 6


@dataclass(frozen=True)
class Plan:
    """A fault, and the step of the victim at which it comes."""

    fault: Fault
    step: str
    occurrence: int
    after: bool

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"{self.fault} {when} {self.step} {self.occurrence}"


def plan_of(seed: int, number: int, steps: Mapping[str, int], *, has_cables: bool) -> Plan:
    """Return the plan of the fault with a number.

    The faults take turns, with kills and cut links twice as often as others. Each one takes turns
    among the steps, before and after each.

    Args:
        steps: how often the victim takes each step.
        has_cables: whether links can be cut.
    """
    faults = [fault for fault in (*Fault, *_OFTEN) if has_cables or fault not in NEEDS_CABLES]
    rounds, place = divmod(number, len(faults))
    fault = faults[place]
    turn = rounds * faults.count(fault) + faults[:place].count(fault)
    points = [(step, after) for step in sorted(steps) for after in (False, True)]
    Random(f"{seed} {fault}").shuffle(points)
    step, after = points[turn % len(points)]
    most = min(steps[step], _LAST_OCCURRENCE)
    return Plan(fault, step, Random(f"{seed} {number}").randint(1, most), after)
