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
from verification.histories.lakes import Lakes

_CASES_OF_A_WORKER = 25
"""A new worker takes over after so many: DuckDB keeps some memory of each database."""


@dataclass
class Result:
    """The result of a history: batches by what was done in them, and the difference, if any."""

    done: Counter[str] = field(default_factory=Counter)
    difference: str = ""


def run_histories(
    seed: int, first: int, batches: int, processes: int, folder: Path, lakes: Lakes | None = None
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
            yield from pool.map(partial(_run, folder, lakes), cases[start : start + size])


def _run(folder: Path, lakes: Lakes | None, case: Case) -> Result:
    logging.disable()
    result = Result()
    try:
        for what in run_history(case, folder, lakes):
            result.done[what] += 1
    except DifferenceError as difference:
        smaller = shrink(case, difference, folder, lakes)
        result.difference = _describe(case, smaller, lakes)
    return result


def _describe(case: Case, difference: DifferenceError, lakes: Lakes | None) -> str:
    again = "make histories" if lakes is None else "make histories LAKE=1"
    return "\n".join(
        [
            f"in history {case.number}: {difference}",
            *difference.report,
            *traceback.format_exception(difference.__cause__),
            f"Again: {again} BATCHES={BATCHES} SEED={case.seed} FIRST={case.number}",
        ]
    )
