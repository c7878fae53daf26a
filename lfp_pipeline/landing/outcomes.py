"""What became of a delivery, noted beside its raw file for those who may not open the warehouse.

The ledger is the truth; a note is a copy of its word, written after the commit. It names the
database that it speaks of, and says nothing of another. Where it is lost, or not what people want
of the delivery now, that is offered again, and found to be in, or taken in or out.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lfp_pipeline.landing.durable import publish, sync_folder, temporary_beside
from lfp_pipeline.landing.inbox import InboxFile
from lfp_pipeline.landing.intents import is_reverted

_SUFFIX = ".outcome"
MERGED = "merged"
REVERTED = "reverted"
_ENDS = {MERGED, "refused", REVERTED}


@dataclass(frozen=True)
class Outcome:
    """The status of a delivery in the ledger, and when it was noted, as a file time."""

    status: str
    noted_ns: int


def note_outcome(raw: Path, status: str, database_id: str) -> None:
    """Note what became of the delivery whose raw file that is, in that database."""
    note = raw.with_suffix(_SUFFIX)
    with temporary_beside(note) as (file, temporary):
        file.write(f"{status} {database_id}\n".encode())
        publish(file, temporary, note)


def forget_outcome(raw: Path) -> None:
    """Have the delivery be offered again."""
    with suppress(FileNotFoundError):
        raw.with_suffix(_SUFFIX).unlink()
        sync_folder(raw.parent)


def confirm_outcome(raw: Path) -> None:
    """Say that the outcome of a delivery holds for the same bytes, which have landed again now.

    What was refused may be tried again: that notes its outcome.
    """
    if last_noted(raw) in {MERGED, REVERTED}:
        with suppress(OSError):  # It is offered once more.
            os.utime(raw.with_suffix(_SUFFIX))


def last_noted(raw: Path) -> str | None:
    """What was noted of a delivery last, in whichever database; None: nothing ever was."""
    try:
        return raw.with_suffix(_SUFFIX).read_text(errors="replace").partition(" ")[0]
    except FileNotFoundError:
        return None


def read_outcome(raw: Path, database_id: str | None) -> Outcome | None:
    """What was noted of the delivery whose raw file that is; None: it came to no end there."""
    try:
        with raw.with_suffix(_SUFFIX).open(errors="replace") as note:  # Whatever is in it.
            status, _, noted_id = note.read().strip().partition(" ")
            noted_ns = Path(note.name).stat().st_mtime_ns
    except FileNotFoundError:
        return None
    is_end = status in _ENDS and (status == REVERTED) == is_reverted(raw)
    return Outcome(status, noted_ns) if is_end and noted_id == database_id else None


def is_dropped_anew(file: InboxFile, outcome: Outcome) -> bool:
    """Whether a file was written, moved or touched after the outcome of its version was noted.

    A file from a clock that goes ahead is not, until that time has come.
    """
    return outcome.noted_ns < file.ctime_ns <= time.time_ns()
