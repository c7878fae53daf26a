"""Simulated kills: the work of this process stops at a step, as if the process were killed.

A step is a statement, or a change of a name in the data folder. After the last step, only what the
kernel does for a killed process still happens: files and connections are closed, locks are
released.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb


class KilledError(BaseException):
    """A simulated kill. It is no Exception, so that no handler catches it."""


class StepLimit:
    """Allows so many steps before the kill. Threads share the count."""

    def __init__(self, last: int) -> None:
        self.steps = 0
        self.last = last
        self.is_reached = False

    def step(self) -> None:
        """Count a step, or raise where there are enough."""
        if self.steps >= self.last:
            self.is_reached = True
            raise KilledError
        self.steps += 1


class _CountedConnection:
    """A connection whose statements are steps."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, limit: StepLimit) -> None:
        self._connection = connection
        self._limit = limit

    def __enter__(self) -> "_CountedConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        attribute = getattr(self._connection, name)
        if name not in {"execute", "sql", "begin", "commit"}:
            return attribute

        def step(*arguments: object) -> Any:  # noqa: ANN401
            self._limit.step()
            return attribute(*arguments)

        return step


MoreSteps = Callable[[StepLimit], AbstractContextManager[object]]
"""For a block, has more events count as steps."""


@contextmanager
def killed_after(data: Path, last: int, more: MoreSteps = nullcontext) -> Iterator[StepLimit]:
    """Kill the block after so many steps; changes of names in the data folder are steps, too.

    Those in work/ are not: a mark there of a file that crashed its reader would have the next run
    try that file for seconds.
    """
    limit = StepLimit(last)
    connect = duckdb.connect

    def connect_counted(*arguments: object, **options: object) -> _CountedConnection:
        return _CountedConnection(connect(*arguments, **options), limit)

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def step(path: str | Path, *arguments: object, **options: object) -> None:
            if Path(path).is_relative_to(data) and not Path(path).is_relative_to(data / "work"):
                limit.step()
            change(path, *arguments, **options)

        return step

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(duckdb, "connect", connect_counted))
        for name in ("replace", "rename", "unlink"):
            patches.enter_context(mock.patch.object(os, name, counted(getattr(os, name))))
        patches.enter_context(more(limit))
        yield limit
