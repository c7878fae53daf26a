"""Runs many histories, in several processes at once."""

import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from verification.histories.history import BATCHES, Case, DifferenceError, run_history, shrink

_CASES_OF_A_WORKER = 25
"""A new worker takes over after so many: DuckDB keeps some memory of each database."""


@dataclass
class Result:
    """The result of a history: batches by what was done in them, and the difference, if any."""

    done: Counter[str] = field(default_factory=Counter)
    difference: str = ""


def run_histories(
    seed: int, first: int, batches: int, processes: int, folder: Path
) -> Iterator[Result]:
    """Run histories from the first number on, with so many batches in all; yield their results.

    Data folders are made in `folder`, and removed afterwards.
    """
    cases = [
        Case(seed, number, tuple(range(min(BATCHES, batches - done))))
        for number, done in enumerate(range(0, batches, BATCHES), first)
    ]
    size = processes * _CASES_OF_A_WORKER
    for start in range(0, len(cases), size):
        # Its own `max_tasks_per_child` may hang: https://github.com/python/cpython/issues/115634
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            yield from pool.map(partial(_run, folder), cases[start : start + size])


def _run(folder: Path, case: Case) -> Result:
    logging.disable()
    result = Result()
    try:
        for what in run_history(case, folder):
            result.done[what] += 1
    except DifferenceError as difference:
        result.difference = _describe(case, shrink(case, difference, folder))
    return result


def _describe(case: Case, difference: DifferenceError) -> str:
    return "\n".join(
        [
            f"in history {case.number}: {difference}",
            *difference.report,
            *traceback.format_exception(difference.__cause__),
            f"Again: make histories BATCHES={BATCHES} SEED={case.seed} FIRST={case.number}",
        ]
    )
