"""Cases of parametrized tests that are too many for the fast suite."""

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def first_fast(cases: Iterable[Any], fast: int = 1) -> list[Any]:
    """Return the cases of a parametrized test, of which all but the first ones are slow."""
    found = [case if isinstance(case, ParameterSet) else pytest.param(case) for case in cases]
    return found[:fast] + [
        case._replace(marks=[*case.marks, pytest.mark.slow]) for case in found[fast:]
    ]
