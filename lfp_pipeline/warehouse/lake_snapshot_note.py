"""A note beside the files of a lake: the id of the database, and its newest snapshot.

The note is not in PostgreSQL. So it shows if an older copy of PostgreSQL's database is put back.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lfp_pipeline.errors import LfpError, WarehouseInconsistentError, user_message
from lfp_pipeline.warehouse.lake_catalog import LakeState, newest_snapshot
from lfp_pipeline.warehouse.lake_notes import read_note, replace_note

if TYPE_CHECKING:
    import psycopg

NAME = "lfp-snapshot.csv"

_HEADER = "database_id,snapshot\n"


class SnapshotNote:
    """The note at a place, as it was when a session began.

    A session reads the note, and acts on a loss, before any other commit: once as many commits are
    made as were lost, the numbers are the same.
    """

    def __init__(self, place: str, log: logging.Logger) -> None:
        """Read the note.

        Raises:
            BucketUnreachableError: the server of the bucket does not answer, or refuses it.
            WarehouseInconsistentError: the note does not have what this program writes.
            OSError: the file in a folder cannot be read.
        """
        self._place = place
        self._log = log
        content = read_note(place, NAME)
        try:
            self._noted = _parsed(content)
        except ValueError:
            msg = (
                f"{place}/{NAME} does not have the number of a snapshot. Restore it from a copy, "
                "or remove it; without it, the next run does not notice an older copy of "
                "PostgreSQL's database."
            )
            raise WarehouseInconsistentError(msg) from None

    def shows_loss(self, lake: str, state: LakeState) -> bool:
        """Return, and report, whether the same database had a newer snapshot than its newest.

        Args:
            lake: its location, for people.
        """
        noted_id, noted_snapshot = self._noted or (None, 0)
        if noted_id != state.database_id or noted_snapshot <= state.snapshot:
            return False
        loss = (
            "%s has lost what was committed last: its newest snapshot is %d, and had been %d. An "
            "older copy of PostgreSQL's database was put back. Run `lfp cluster init`, which "
            "adopts the deliveries that landed since, then `lfp ingest`."
        )
        self._log.warning(loss, lake, state.snapshot, noted_snapshot)
        return True

    @contextmanager
    def kept_current(self, connection: "psycopg.Connection[Any]") -> Iterator[None]:
        """Note the newest snapshot of the catalog after the block. A failure does no harm now."""
        yield
        newest = newest_snapshot(connection)
        if newest is None or newest.database_id is None:
            return
        present = newest.database_id, newest.number
        if present == self._noted:
            return
        try:
            line = f"{present[0]},{present[1]}\n"
            replace_note(self._place, NAME, f"{_HEADER}{line}".encode())
        except (LfpError, OSError) as error:
            self._log.warning("The newest snapshot could not be noted: %s", user_message(error))


def _parsed(content: bytes | None) -> tuple[str, int] | None:
    if content is None:
        return None
    _, line = content.decode().splitlines()
    database_id, snapshot = line.split(",")
    return database_id, int(snapshot)
