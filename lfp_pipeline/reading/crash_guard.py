"""The crash guard: a file whose reader process died is first read in a subprocess, as a trial.

Native code reads the files. A file may crash that code, or make the kernel kill the process for its
memory. The database survives, but each later run would read the file again and die, together with
all files of the run. So a process that reads a batch holds a mark for each delivery, named by the
digest of its bytes. A mark without a living holder shows that a reader of these bytes died. Then a
trial read comes first: a subprocess reads the file and discards the rows. If the trial read dies
too, the file is not read, and its mark remains for later runs. If the trial read survives, the
reader died for another reason, and the mark is removed. The merge has no such guard: the limit of
attempts in the sensor ends repeated deaths there.
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
from lfp_pipeline.common.text import size_in_bytes
from lfp_pipeline.errors import DeliveryRefusedError, ReaderCrashedError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace

_MARK = "reading-"

_LEAST_SECONDS = 600.0
_BYTES_A_SECOND = 100_000
"""A reader of a packed file is never slower, unless it hangs."""

_MEMORY_BESIDE_DUCKDB = 2 << 30
"""Memory for rejects and for buffers of the CSV reader, beyond DuckDB's own limit."""

_MEMORY_OF_A_THREAD = 16 << 20

_OUT_OF_MEMORY = 3

_CRASHES = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP,
}  # fmt: skip
"""Signals that a process raises by its own fault; others come from outside."""

_LESS_MEMORY = " Free some memory, or deliver the file in parts."


@contextmanager
def marking_in_progress(deliveries: Iterable[Delivery], work_dir: Path) -> Iterator[None]:
    """Hold a mark for each of some deliveries within the block: this process reads its bytes."""
    reader = uuid4().hex
    first, *others = [
        work_dir / f"{_MARK}{sha256}.{reader}"
        for sha256 in dict.fromkeys(delivery.sha256 for delivery in deliveries)
    ]
    with hold_mark(first):
        try:
            for mark in others:
                os.link(first, mark)  # All names share the lock of the file.
            yield
        finally:
            for mark in others:
                mark.unlink(missing_ok=True)


def crashed_digests(work_dir: Path) -> frozenset[str]:
    """Return the sha256 digests of the bytes whose readers died."""
    found = stale_marks(work_dir, f"{_MARK}*")
    return frozenset(mark.stem.removeprefix(_MARK) for mark in found)


def trial_read_if_crashed(
    delivery: Delivery,
    limits: WorkspaceLimits,
    options: ReadOptions,
    work_dir: Path,
    log: Logger,
) -> None:
    """Read a delivery in a subprocess first, if a process that read the same bytes died.

    `work_dir` is the folder of the marks and workspaces of all readers.

    Raises:
        DeliveryRefusedError: the subprocess crashed, too.
        ReaderCrashedError: the subprocess took too much time or memory, or was killed.
    """
    marks = stale_marks(work_dir, f"{_MARK}{delivery.sha256}.*")
    if marks:
        message = "%s: a process died while it read this file; a subprocess reads the file first"
        log.warning(message, delivery.partition_key)
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
        ended = subprocess.run(  # noqa: S603 (the command is our own)
            [sys.executable, "-m", __name__],
            input=pickle.dumps((delivery, limits, options, work_dir, seconds, memory_bytes)),
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        how = f"took more than {seconds:,.0f} s, and was stopped"
        raise ReaderCrashedError(_ends(how)) from None
    code = ended.returncode
    if -code in _CRASHES:
        remedy = (
            " Write the file again as plain CSV (RFC 4180). After an update of this program or of "
            "DuckDB, `lfp ingest` tries it again while it is in the inbox."
        )
        raise DeliveryRefusedError(_ends(f"crashed ({_signal_name(-code)})") + remedy)
    if code == _OUT_OF_MEMORY:
        limit = f"{memory_bytes >> 20:,} MB of memory in all, or LFP_MEMORY_LIMIT in DuckDB"
        raise ReaderCrashedError(_ends(f"took more than {limit}, and was stopped") + _LESS_MEMORY)
    if code < 0:
        how = f"was killed ({_signal_name(-code)}), as it is where memory runs out"
        raise ReaderCrashedError(_ends(how) + _LESS_MEMORY)
    if code:
        errors = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        msg = f"A process died while it read the file, and the trial read cannot start: {errors}"
        raise ReaderCrashedError(msg)


def _ends(how: str) -> str:
    return (
        f"The CSV reader {how} on this file, in a trial read after a process that read the file "
        "had died. Nothing was merged."
    )


def _signal_name(number: int) -> str:
    return f"signal {number}, {signal.strsignal(number)}"


# In the subprocess


def main() -> int:
    """Read the delivery that standard input describes; the exit code shows lack of memory."""
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 (the parent process wrote it)
    delivery, limits, options, work_dir, seconds, memory_bytes = job
    _limit_memory(memory_bytes)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # Ends the process even without the GIL.
    threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True).start()
    try:
        with open_workspace([delivery.path.parent], work_dir, limits) as workspace:
            folder = workspace.folder
            texts = plain_texts(delivery, folder, options)
            log = getLogger(__name__)
            read_delivery(delivery, texts, workspace.connection, folder, options, log)
    except (MemoryError, duckdb.OutOfMemoryException):
        return _OUT_OF_MEMORY
    except Exception:  # noqa: BLE001 (the reading proper raises it again, and reports it)
        return 0
    return 0


def _limit_memory(max_bytes: int) -> None:
    """Limit the memory of this process, and make it the first that the kernel kills."""
    with suppress(OSError):  # Only Linux has this file.
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The address space stays unlimited: the file is mapped, and DuckDB reserves spare space.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > max_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, hard))


def _exit_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
