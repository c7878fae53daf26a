"""Named steps, counted in a process that kills itself, or does something else, at one of them.

The product has no code for this: in the process, its functions are wrapped.
"""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from threading import Lock
from typing import Any
from unittest.mock import patch

import duckdb

from lfp_pipeline.ingest import ingest
from lfp_pipeline.raw_zone.desired_state import DesiredStates
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.warehouse import duckdb_file
from lfp_pipeline.warehouse.file_lock import FileWriterLock


class Step(StrEnum):
    """Steps at which a process can be killed, in the order in which an ingest takes them.

    The last ones belong to operators' works.
    """

    SUBMIT = "sensor submit"
    """Partitions are added, runs are created."""
    LAND = "land"
    FSYNC = "fsync"
    RENAME = "rename"
    READ = "read"
    """A statement while nothing is attached."""
    LOCK = "lock taken"
    ATTACH = "attach"
    MATCH = "match"
    """A statement on the attached warehouse, unless it is in a transaction that has written.

    A direct load is one; so is the end of a transaction that only read.
    """
    BEGIN = "begin"
    STATEMENT = "statement"
    """A statement of a transaction, from its first write on, that is neither of the next two."""
    COUNTS = "counts"
    LEDGER = "ledger"
    COMMIT = "commit"
    CHECKPOINT = "checkpoint"
    DETACH = "detach"
    STATUS = "status note"
    DESIRED = "desired state"
    """A mark is made or removed: reverted, pruned."""
    UNLINK = "pruned file unlinked"
    SWAP = "database swapped"


@dataclass(frozen=True)
class Kill:
    """The occurrence of a step at which a process is killed: just before or just after it."""

    step: StrEnum
    occurrence: int
    after: bool


def kill_this_process() -> None:
    """Kill it, as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Steps:
    """Counts the steps that this process begins, and kills it at one of them.

    Args:
        act: done there instead of the kill.
    """

    def __init__(self, kill: Kill | None, act: Callable[[], None] = kill_this_process) -> None:
        self.kill = kill
        self._act = act
        self.counts = Counter[StrEnum]()
        self._counting = Lock()  # An ingest has several threads.

    @contextmanager
    def taking(self, step: StrEnum) -> Iterator[None]:
        """Count the block as a step; kill the process before or after, where that is due."""
        with self._counting:
            self.counts[step] += 1
            here = self.kill is not None and (step, self.counts[step]) == (
                self.kill.step,
                self.kill.occurrence,
            )
        if here and not self.kill.after:
            self._act()
        yield
        if here and self.kill.after:
            self._act()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count all steps of this process in the block."""
        connect, held = duckdb.connect, FileWriterLock.held

        @wraps(connect)
        def connected(*arguments: Any, **options: Any) -> _Connection:  # noqa: ANN401
            return _Connection(connect(*arguments, **options), self)

        @contextmanager
        def locked(*arguments: Any) -> Iterator[None]:  # noqa: ANN401
            with ExitStack() as held_until_the_end:
                with self.taking(Step.LOCK):
                    held_until_the_end.enter_context(held(*arguments))
                yield

        # A process that has not imported Dagster, which takes seconds, submits nothing.
        instance = getattr(sys.modules.get("dagster"), "DagsterInstance", None)
        with ExitStack() as patches:
            patches.enter_context(patch.object(duckdb, "connect", connected))
            patches.enter_context(patch.object(FileWriterLock, "held", locked))
            for owner, name, step in [
                *((instance, name, Step.SUBMIT) for name in _SUBMITTING if instance),
                (RawZone, "land", Step.LAND),
                (os, "fsync", Step.FSYNC),
                (os, "replace", Step.RENAME),
                (os, "rename", Step.RENAME),
                (ingest, "try_to_write_status_note", Step.STATUS),
                *((DesiredStates, name, Step.DESIRED) for name in _MARKING),
                (os, "unlink", Step.UNLINK),
                (duckdb_file, "replace_database", Step.SWAP),
            ]:
                wrapped = self._wrapped(step, getattr(owner, name))
                patches.enter_context(patch.object(owner, name, wrapped))
            yield

    def _wrapped(self, step: StrEnum, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def taken(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            if step is Step.UNLINK and not str(arguments[0]).endswith(".raw"):
                return function(*arguments, **options)
            with self.taking(step):
                return function(*arguments, **options)

        return taken


_MARKING = (
    *("mark_reverted", "mark_dismissed", "clear_reverted", "prune", "clear_pruned"),
    *("dismiss_rejects", "clear_dismissed_rejects"),
)

_SUBMITTING = ("add_dynamic_partitions", "create_run_for_job")

_COMMANDS = {"ATTACH": Step.ATTACH, "DETACH": Step.DETACH, "CHECKPOINT": Step.CHECKPOINT}

_WRITES = re.compile(
    r"\s*(?:INSERT INTO|UPDATE|DELETE FROM|(?:CREATE|DROP|ALTER) TABLE(?: IF NOT EXISTS)?)"
    r" warehouse\.(\w+)"
)
_WRITTEN = {"deliveries": Step.LEDGER, "name_counts": Step.COUNTS}


class _Connection:
    """A connection whose statements are steps: DuckDB's own type cannot be patched."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps
        self._is_attached = False
        self._is_in_transaction = False
        self._has_written = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._connection, name)

    def __enter__(self) -> "_Connection":
        self._connection.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.__exit__(*error)

    def begin(self) -> None:
        with self._steps.taking(Step.BEGIN):
            self._connection.begin()
        self._is_in_transaction, self._has_written = True, False

    def commit(self) -> None:
        self._is_in_transaction = False
        with self._steps.taking(Step.COMMIT if self._has_written else Step.MATCH):
            self._connection.commit()

    def rollback(self) -> None:
        self._is_in_transaction = False
        self._connection.rollback()

    def execute(self, sql: str, *parameters: object) -> duckdb.DuckDBPyConnection:
        step = self._step_of(sql)
        with self._steps.taking(step):
            result = self._connection.execute(sql, *parameters)
        if step is Step.ATTACH or sql == "DETACH warehouse":
            self._is_attached = step is Step.ATTACH
        return result

    def _step_of(self, sql: str) -> Step:
        command = sql.split(maxsplit=1)[0]
        if command in _COMMANDS:
            return _COMMANDS[command]
        if self._is_in_transaction:
            writes = _WRITES.match(sql)
            self._has_written |= bool(writes)
            if writes:
                return _WRITTEN.get(writes[1], Step.STATEMENT)
            if self._has_written:
                return Step.STATEMENT
        return Step.MATCH if self._is_attached else Step.READ
