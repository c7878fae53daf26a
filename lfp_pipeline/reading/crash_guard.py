"""The rehearsal: what a reader died of is read by a process that may die, before others are harmed.

Native code reads the files, and a file may crash it, or have the kernel kill the process for the
memory that it takes. The database survives that; but the next run would read the file again, and
die again, together with all that shares the run. So whoever reads a batch holds a mark for each of
its deliveries, which names its bytes. Where a mark is found whose holder is dead, these bytes are
first read in a process of their own, into nothing. If that dies as well, they are not read; the
mark stays, and so it is at each later try. If it lives, the reader had died of something else, and
the mark is forgotten. (The merge is not rehearsed: what dies there, the sensor's attempts end.)
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import Logger, getLogger
from pathlib import Path
from uuid import uuid4

import duckdb

from lfp_pipeline.common.process_marks import hold_mark, stale_marks
from lfp_pipeline.common.text import size_in_bytes
from lfp_pipeline.errors import DeliveryRefusedError, ReaderCrashedError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings

_MARK = "reading-"

_LEAST_SECONDS = 600.0
_BYTES_A_SECOND = 100_000
"""Slower than any reading of a packed file. Who is slower, hangs."""

_MEMORY_BESIDE_DUCKDB = 2 << 30
"""For rejects and buffers of the CSV reader, which do not count towards its limit."""

_MEMORY_OF_A_THREAD = 16 << 20

_OUT_OF_MEMORY = 3

_CRASHES = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP,
}  # fmt: skip
"""What a process does to itself. Other signals are sent by others."""


_LESS_MEMORY = " Free some memory, or deliver the file in parts."


@dataclass(frozen=True)
class TrialRead:
    """What is read, and with what: a reading that nobody uses."""

    delivery: Delivery
    limits: WorkspaceLimits
    settings: Settings

    @property
    def most_seconds(self) -> float:
        """How long it may take."""
        return _LEAST_SECONDS + self.delivery.size_bytes / _BYTES_A_SECOND

    @property
    def most_bytes(self) -> int:
        """How much memory of its own the process may have; files that are mapped do not count."""
        duckdb_bytes = 2 * size_in_bytes(self.limits.memory_limit)
        return duckdb_bytes + self.limits.threads * _MEMORY_OF_A_THREAD + _MEMORY_BESIDE_DUCKDB


@contextmanager
def marking_in_progress(deliveries: Iterable[Delivery], settings: Settings) -> Iterator[None]:
    """Hold the marks that the bytes of some deliveries are being read, for the block."""
    reader = uuid4().hex
    first, *others = [
        settings.work_dir / f"{_MARK}{sha256}.{reader}"
        for sha256 in dict.fromkeys(delivery.sha256 for delivery in deliveries)
    ]
    with hold_mark(first):
        try:
            for mark in others:
                os.link(first, mark)  # The lock is the file's, whatever its name.
            yield
        finally:
            for mark in others:
                mark.unlink(missing_ok=True)


def crashed_digests(settings: Settings) -> frozenset[str]:
    """Of which bytes a reader has died."""
    found = stale_marks(settings.work_dir, f"{_MARK}*")
    return frozenset(mark.stem.removeprefix(_MARK) for mark in found)


def trial_read_if_crashed(
    delivery: Delivery, limits: WorkspaceLimits, settings: Settings, log: Logger
) -> None:
    """Read a delivery in a process of its own, if one that read the same bytes has died.

    Args:
        delivery: what is to be read.
        limits: of the workspace that it is to be read into.
        settings: rules and limits.
        log: is told of it.

    Raises:
        DeliveryRefusedError: the process crashed, too.
        ReaderDiedError: it took too much time or memory, or was killed.
    """
    marks = stale_marks(settings.work_dir, f"{_MARK}{delivery.sha256}.*")
    if marks:
        told = "%s: a process died while it read this file; reading it in one of its own first"
        log.warning(told, delivery.partition_key)
        _rehearse(TrialRead(delivery, limits, settings))
        for mark in marks:
            mark.unlink(missing_ok=True)


def _rehearse(rehearsal: TrialRead) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 (it is ours)
            [sys.executable, "-m", __name__],
            input=pickle.dumps(rehearsal),  # Settings that are made anew ask the environment.
            capture_output=True,
            check=False,
            timeout=rehearsal.most_seconds,
        )
    except subprocess.TimeoutExpired:
        msg = f"took more than {rehearsal.most_seconds:,.0f} s, and was stopped"
        raise ReaderCrashedError(_ends(msg)) from None
    code = ended.returncode
    if -code in _CRASHES:
        remedy = (
            " Write the file again as plain CSV (RFC 4180). After an update of this program or of "
            "DuckDB, ingest_inbox tries it again while it is in the inbox."
        )
        raise DeliveryRefusedError(_ends(f"crashed ({_signal_name(-code)})") + remedy)
    if code == _OUT_OF_MEMORY:
        most = f"{rehearsal.most_bytes >> 20:,} MB of memory in all, or LFP_MEMORY_LIMIT in DuckDB"
        how = f"took more than {most}, and was stopped"
        raise ReaderCrashedError(_ends(how) + _LESS_MEMORY)
    if code < 0:
        how = f"was killed ({_signal_name(-code)}), as it is where memory runs out"
        raise ReaderCrashedError(_ends(how) + _LESS_MEMORY)
    if code:
        errors = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        msg = f"A process died while it read the file, and it cannot be tried in another: {errors}"
        raise ReaderCrashedError(msg)


def _ends(how: str) -> str:
    return (
        f"The CSV reader {how} on this file: tried in a process of its own, after one that read "
        "the file had died. Nothing was taken."
    )


def _signal_name(number: int) -> str:
    return f"signal {number}, {signal.strsignal(number)}"


# In the process that may die


def main() -> int:
    """Read what standard input tells of; the exit code tells whether memory ran out."""
    rehearsal: TrialRead = pickle.load(sys.stdin.buffer)  # noqa: S301 (it is our parent's)
    _offer_to_the_kernel(rehearsal.most_bytes)
    signal.setitimer(signal.ITIMER_REAL, rehearsal.most_seconds)  # Whoever holds the GIL.
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    delivery, settings = rehearsal.delivery, rehearsal.settings
    folders = [delivery.path.parent]
    try:
        with open_workspace(folders, settings.work_dir, rehearsal.limits) as workspace:
            folder = workspace.folder
            texts = plain_texts(delivery, folder, settings)
            log = getLogger(__name__)
            read_delivery(delivery, texts, workspace.connection, folder, settings, log)
    except (MemoryError, duckdb.OutOfMemoryException):
        return _OUT_OF_MEMORY
    except Exception:  # noqa: BLE001 (whoever reads it next meets it, too, and lives to tell)
        return 0
    return 0


def _offer_to_the_kernel(most_bytes: int) -> None:
    """Of all processes, this is to die where memory runs out."""
    with suppress(OSError):  # Only Linux has it.
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not the address space: the file is mapped, and DuckDB reserves more than it takes.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > most_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
