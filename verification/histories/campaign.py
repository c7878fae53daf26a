"""Many histories, in several processes at once."""

import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from verification.histories.story import (
    BATCHES,
    Case,
    DifferenceError,
    live_through,
    shrunk,
)

_CASES_OF_A_WORKER = 25
"""Then it makes room for a new one: DuckDB keeps some memory of each database."""


@dataclass
class Lived:
    """A history: batches by what was done in them, and what was wrong."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: str = ""


def lived(seed: int, first: int, batches: int, processes: int, folder: Path) -> Iterator[Lived]:
    """Live through histories with so many batches in all.

    Args:
        seed: of all that is done.
        first: the number of the first history.
        batches: how many.
        processes: how many at once.
        folder: where data folders are made, and gone afterwards.
    """
    cases = [
        Case(seed, number, tuple(range(min(BATCHES, batches - done))))
        for number, done in enumerate(range(0, batches, BATCHES), first)
    ]
    share = processes * _CASES_OF_A_WORKER
    for start in range(0, len(cases), share):
        # Its own `max_tasks_per_child` may hang: https://github.com/python/cpython/issues/115634
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            yield from pool.map(partial(_live, folder), cases[start : start + share])


def _live(folder: Path, case: Case) -> Lived:
    logging.disable()
    lived = Lived()
    try:
        for what in live_through(case, folder):
            lived.done[what] += 1
    except DifferenceError as difference:
        lived.wrong = _told(case, shrunk(case, difference, folder))
    return lived


def _told(case: Case, difference: DifferenceError) -> str:
    return "\n".join(
        [
            f"in history {case.number}: {difference}",
            *difference.told,
            *traceback.format_exception(difference.__cause__),
            f"Again: make histories BATCHES={BATCHES} SEED={case.seed} FIRST={case.number}",
        ]
    )
