"""A note beside the files of a lake: the id of the database, and its newest snapshot.

The note is not in PostgreSQL. So it shows if an older copy of PostgreSQL's database is put back.
"""

import logging

from lfp_pipeline.errors import LfpError, user_message
from lfp_pipeline.warehouse.lake_catalog import LakeState, Snapshot
from lfp_pipeline.warehouse.lake_notes import read_note, replace_note

NAME = "lfp-snapshot.csv"

_HEADER = "database_id,snapshot\n"


class SnapshotNote:
    """The note at a place, as it was when a session began.

    A note that cannot be read is not replaced: it may be the only trace of a loss.
    """

    def __init__(self, place: str, log: logging.Logger) -> None:
        self._place = place
        self._log = log
        self._noted: tuple[str, int] | None = None
        self._is_known = True
        try:
            self._noted = _parsed(read_note(place, NAME))
        except (LfpError, OSError, ValueError) as error:
            self._is_known = False
            log.warning(
                "%s/%s cannot be read, so that lost commits would not show. It stays as it is. "
                "Check the place of the lake, or restore or remove this file. %s",
                *(place, NAME, user_message(error)),
            )

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
            "older copy of PostgreSQL's database was put back. Run `lfp ingest`, which merges what "
            "is missing from the raw zone."
        )
        self._log.warning(loss, lake, state.snapshot, noted_snapshot)
        return True

    def update(self, newest: Snapshot | None) -> None:
        """Note the newest snapshot. A failure does no harm now."""
        if not self._is_known or newest is None or newest.database_id is None:
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
