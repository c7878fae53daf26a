"""Dying in the middle: of this process's work, all ends at some step, as if it were killed.

A step is a statement, or a change of a name in the data folder. Whoever dies does no other; only
what the kernel would do for a dead process still happens: files are closed, locks let go.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb


class DeathError(BaseException):
    """Not an Exception: nothing may take it for one it knows."""


class Life:
    """The steps that are left. Threads share it.

    Attributes:
        steps: done so far.
    """

    def __init__(self, last: int) -> None:
        """Die before the step after so many."""
        self.steps = 0
        self.last = last

    def step(self) -> None:
        """Do one more, or die."""
        if self.steps >= self.last:
            raise DeathError
        self.steps += 1


class _Mortal:
    """A connection of somebody who may die."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, life: Life) -> None:
        self._connection = connection
        self._life = life

    def __enter__(self) -> "_Mortal":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        attribute = getattr(self._connection, name)
        if name not in {"execute", "sql", "begin", "commit"}:
            return attribute

        def step(*arguments: object) -> Any:  # noqa: ANN401
            self._life.step()
            return attribute(*arguments)

        return step


@contextmanager
def dying(data: Path, last: int) -> Iterator[Life]:
    """Die after so many steps of the block.

    Args:
        data: the folder in which a change of names is a step; what is at work in work/ leaves no
            mark that somebody died of a file, because looking into that takes seconds.
        last: how many.
    """
    life = Life(last)
    connect = duckdb.connect

    def connect_mortal(*arguments: object, **options: object) -> _Mortal:
        return _Mortal(connect(*arguments, **options), life)

    def mortal(change: Callable[..., None]) -> Callable[..., None]:
        def step(path: str | Path, *arguments: object, **options: object) -> None:
            if Path(path).is_relative_to(data) and not Path(path).is_relative_to(data / "work"):
                life.step()
            change(path, *arguments, **options)

        return step

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(duckdb, "connect", connect_mortal))
        for name in ("replace", "rename", "unlink"):
            patches.enter_context(mock.patch.object(os, name, mortal(getattr(os, name))))
        yield life
