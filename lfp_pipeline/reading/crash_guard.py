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
from logging import Logger, getLogger
from pathlib import Path
from uuid import uuid4

import duckdb

from lfp_pipeline.common.process_marks import hold_mark, stale_marks
from lfp_pipeline.errors import DeliveryRefusedError, ReaderCrashedError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import size_in_bytes

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


@contextmanager
def marking_in_progress(deliveries: Iterable[Delivery], work_dir: Path) -> Iterator[None]:
    """Hold the marks that the bytes of some deliveries are being read, for the block."""
    reader = uuid4().hex
    first, *others = [
        work_dir / f"{_MARK}{sha256}.{reader}"
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


def crashed_digests(work_dir: Path) -> frozenset[str]:
    """Of which bytes a reader has died."""
    found = stale_marks(work_dir, f"{_MARK}*")
    return frozenset(mark.stem.removeprefix(_MARK) for mark in found)


def trial_read_if_crashed(
    delivery: Delivery,
    limits: WorkspaceLimits,
    options: ReadOptions,
    work_dir: Path,
    log: Logger,
) -> None:
    """Read a delivery in a process of its own, if one that read the same bytes has died.

    Args:
        delivery: what is to be read.
        limits: of the workspace that it is to be read into.
        options: how it is read.
        work_dir: holds the marks and workspaces of all readers.
        log: is told of it.

    Raises:
        DeliveryRefusedError: the process crashed, too.
        ReaderDiedError: it took too much time or memory, or was killed.
    """
    marks = stale_marks(work_dir, f"{_MARK}{delivery.sha256}.*")
    if marks:
        told = "%s: a process died while it read this file; reading it in one of its own first"
        log.warning(told, delivery.partition_key)
        _trial_read(delivery, limits, options, work_dir)
        for mark in marks:
            mark.unlink(missing_ok=True)


def _trial_read(
    delivery: Delivery, limits: WorkspaceLimits, options: ReadOptions, work_dir: Path
) -> None:
    seconds = _LEAST_SECONDS + delivery.size_bytes / _BYTES_A_SECOND
    duckdb_bytes = 2 * size_in_bytes(limits.memory_limit)
    memory_bytes = duckdb_bytes + limits.threads * _MEMORY_OF_A_THREAD + _MEMORY_BESIDE_DUCKDB
    try:
        ended = subprocess.run(  # noqa: S603 (it is ours)
            [sys.executable, "-m", __name__],
            input=pickle.dumps((delivery, limits, options, work_dir, seconds, memory_bytes)),
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        msg = f"took more than {seconds:,.0f} s, and was stopped"
        raise ReaderCrashedError(_ends(msg)) from None
    code = ended.returncode
    if -code in _CRASHES:
        remedy = (
            " Write the file again as plain CSV (RFC 4180). After an update of this program or of "
            "DuckDB, ingest_inbox tries it again while it is in the inbox."
        )
        raise DeliveryRefusedError(_ends(f"crashed ({_signal_name(-code)})") + remedy)
    if code == _OUT_OF_MEMORY:
        most = f"{memory_bytes >> 20:,} MB of memory in all, or LFP_MEMORY_LIMIT in DuckDB"
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
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 (it is our parent's)
    delivery, limits, options, work_dir, seconds, memory_bytes = job
    _offer_to_the_kernel(memory_bytes)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # Whoever holds the GIL.
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with open_workspace([delivery.path.parent], work_dir, limits) as workspace:
            folder = workspace.folder
            texts = plain_texts(delivery, folder, options)
            log = getLogger(__name__)
            read_delivery(delivery, texts, workspace.connection, folder, options, log)
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
