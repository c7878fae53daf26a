"""What became of a delivery, noted beside its raw file for those who may not open the warehouse.

The ledger is the truth; a note is a copy of its word, written after the commit. It names the
database that it speaks of, and says nothing of another. Where it is lost, the delivery is offered
again, and found to be in.
"""

from dataclasses import dataclass
from pathlib import Path

from lfp_pipeline.landing.durable import publish, temporary_beside

_SUFFIX = ".outcome"


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


def read_outcome(raw: Path, database_id: str | None) -> Outcome | None:
    """What was noted of the delivery whose raw file that is; None: nothing, in that database."""
    try:
        with raw.with_suffix(_SUFFIX).open() as note:
            status, _, noted_id = note.read().strip().partition(" ")
            noted_ns = Path(note.name).stat().st_mtime_ns
    except FileNotFoundError:
        return None
    return Outcome(status, noted_ns) if noted_id == database_id else None
