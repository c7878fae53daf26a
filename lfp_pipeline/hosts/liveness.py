"""Marks of living processes that other processes must see: of runs, of reversals, and of hosts.

On one machine, a mark is a locked file (`common/process_marks.py`). Several hosts have no kernel in
common, so there a mark is a row that its process renews (`hosts/heartbeats.py`).
"""

import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Protocol

from lfp_pipeline.common.process_marks import claim_stale_marks, hold_mark, live_marks
from lfp_pipeline.settings import Settings

WORKER_VARIABLE = "_LFP_WORKER_NAME"
"""In the environment of the processes of a worker: its name among the workers."""


class Kind(StrEnum):
    """What a mark is of."""

    RUN = "run"
    """A run of Dagster; the name is its id, the text its job and partition."""
    REVERSAL = "reversal"
    """A delivery that is being reverted or reinstated; the text is its partition."""
    HOST = "host"
    """A head or a worker; the text is a JSON object. File mode has none."""


@dataclass(frozen=True)
class Mark:
    """A mark.

    Attributes:
        name: unique among the marks of its kind.
        text: what the process says of itself.
        since_ns: when the mark was taken, in nanoseconds since the epoch.
        host: the host of the process (see `host_name`); empty in file mode, and if no process has
            taken the mark.
        seconds: time since the last sign of life.
    """

    name: str
    text: str
    since_ns: int
    host: str = ""
    seconds: float = 0.0


def host_name() -> str:
    """Return the name of this host, and in a process of a worker also the name of its mark."""
    host, worker = socket.gethostname(), os.environ.get(WORKER_VARIABLE)
    return process_of(host, f"worker {worker}") if worker else host


def process_of(host: str, mark: str) -> str:
    """Return how the processes of a worker are called, by its host and the name of its mark."""
    return f"{host}, {mark}"


class MarkTakenError(Exception):
    """Another process holds the mark, or has held it and is not declared dead yet."""


def every(_mark: Mark) -> bool:
    """Return True: all marks are wanted."""
    return True


class Liveness(Protocol):
    """The marks of one data folder, or of one catalog."""

    def hold(self, kind: Kind, name: str, text: str = "") -> AbstractContextManager[Event]:
        """Hold a mark for the block, and remove it afterwards.

        The event is set if others declare this process dead meanwhile.

        Raises:
            MarkTakenError: another process holds it. (File mode has a name once only.)
        """
        ...

    def live(self, kind: Kind) -> list[Mark]:
        """Return the marks of living processes, by name."""
        ...

    def claim_dead(self, kind: Kind, wanted: Callable[[Mark], bool] = every) -> Iterator[Mark]:
        """Yield the wanted marks of dead processes, and remove each after its turn.

        Of several processes that ask at once, one gets a mark.
        """
        ...

    def expect(self, kind: Kind, names: Collection[str]) -> None:
        """Note that processes should hold these marks, or should take them soon.

        A name that no process takes in time counts as dead. File mode expects nothing: there, the
        launcher of a run sees its end.
        """
        ...


@dataclass(frozen=True)
class LockedFiles:
    """Marks of runs and reversals as locked files below the work folder."""

    settings: Settings

    @contextmanager
    def hold(self, kind: Kind, name: str, text: str = "") -> Iterator[Event]:
        """Hold a mark (see `Liveness`)."""
        with hold_mark(self._file(kind, name)) as mark:
            mark.write_text(text)
            yield Event()

    def live(self, kind: Kind) -> list[Mark]:
        """Return the marks of living processes."""
        pattern = self._file(kind, "*")
        found = (self._read(kind, file) for file in live_marks(pattern.parent, pattern.name))
        return [mark for mark in found if mark]

    def claim_dead(self, kind: Kind, wanted: Callable[[Mark], bool] = every) -> Iterator[Mark]:
        """Yield the marks of dead processes."""

        def is_wanted(file: Path) -> bool:
            mark = self._read(kind, file)
            return mark is not None and wanted(mark)

        pattern = self._file(kind, "*")
        for file in claim_stale_marks(pattern.parent, pattern.name, wanted=is_wanted):
            if mark := self._read(kind, file):
                yield mark

    def expect(self, kind: Kind, names: Collection[str]) -> None:
        """Expect nothing."""

    def _file(self, kind: Kind, name: str) -> Path:
        if kind is Kind.RUN:
            return self.settings.run_marks_dir / f"{name}.run"
        return self.settings.work_dir / f"reversing-{name}"

    def _read(self, kind: Kind, file: Path) -> Mark | None:
        """Return the mark in a file; None: its process has just ended."""
        name = file.stem if kind is Kind.RUN else file.name.removeprefix("reversing-")
        with suppress(FileNotFoundError):
            return Mark(name, file.read_text(), file.stat().st_mtime_ns)
        return None


def liveness_of(settings: Settings) -> Liveness:
    """Return the marks of a data folder; with a catalog, those of all its hosts."""
    if settings.catalog is None:
        return LockedFiles(settings)
    from lfp_pipeline.hosts.heartbeats import Heartbeats  # noqa: PLC0415 (imports psycopg)

    return Heartbeats(settings.catalog)
