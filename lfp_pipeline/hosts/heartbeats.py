"""Marks as rows of PostgreSQL, which their processes renew: what several hosts see of each other.

A process renews its mark every ten seconds. A mark that was not renewed for a minute is dead, by
the clock of the database alone: the clocks of the hosts do not matter. A process that was suspended
or cut off for longer may find its mark gone; then it stops renewing it, and says so.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from pydantic import SecretStr

from lfp_pipeline.errors import LfpError
from lfp_pipeline.hosts.liveness import Kind, Mark, MarkTakenError, every, host_name
from lfp_pipeline.hosts.postgres import session

if TYPE_CHECKING:
    import psycopg

_LOG = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0

_TABLES = """
CREATE SCHEMA IF NOT EXISTS lfp;
CREATE TABLE IF NOT EXISTS lfp.marks (
    kind text NOT NULL,
    name text NOT NULL,
    holder uuid,  -- NULL: a process is expected to take the mark
    host text NOT NULL,
    text text NOT NULL,
    since timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
);
"""

_TAKE = """
INSERT INTO lfp.marks AS mark (kind, name, holder, host, text, since, renewed_at)
VALUES (%(kind)s, %(name)s, %(holder)s, %(host)s, %(text)s, now(), now())
ON CONFLICT (kind, name) DO UPDATE
SET holder = excluded.holder, host = excluded.host, text = excluded.text, since = now(),
    renewed_at = now()
WHERE mark.holder IS NULL
"""

_EXPECT = """
INSERT INTO lfp.marks (kind, name, host, text, since, renewed_at)
SELECT %(kind)s, name, '', '', now(), now() FROM unnest(%(names)s::text[]) AS name
ON CONFLICT DO NOTHING
"""

_RENEW = "UPDATE lfp.marks SET renewed_at = now() WHERE holder = %s"
_RELEASE = "DELETE FROM lfp.marks WHERE holder = %s"

_COLUMNS = """
name, text, (extract(epoch FROM since) * 1e9)::bigint, host,
    extract(epoch FROM now() - renewed_at)::float8
"""

# Nobody could renew a mark while the server was down.
_IS_DEAD = "greatest(renewed_at, pg_postmaster_start_time()) < now() - make_interval(secs => %(s)s)"

_LIVE = f"""
SELECT {_COLUMNS} FROM lfp.marks
WHERE kind = %(kind)s AND holder IS NOT NULL AND NOT {_IS_DEAD}
ORDER BY name
"""

_DEAD = f"""
SELECT {_COLUMNS} FROM lfp.marks
WHERE kind = %(kind)s AND {_IS_DEAD}
ORDER BY name
"""

_CLAIM = f"""
SELECT name FROM lfp.marks
WHERE kind = %(kind)s AND name = %(name)s AND {_IS_DEAD}
FOR UPDATE SKIP LOCKED
"""

_REMOVE = "DELETE FROM lfp.marks WHERE kind = %(kind)s AND name = %(name)s"

_HELD: dict[tuple[int, str, Kind, str], threading.Event] = {}
"""The marks of this process, by its id, the catalog, kind and name: set if it is declared dead."""


def create_tables(connection: "psycopg.Connection[Any]") -> None:
    """Create the table of the marks if it is missing."""
    connection.execute(_TABLES)


@dataclass(frozen=True)
class Heartbeats:
    """The marks in the database of a catalog (see `Liveness`).

    Attributes:
        catalog: URL of the database.
        beat_seconds: pause between two renewals.
        dead_after_seconds: time without a renewal after which a mark is dead.
    """

    catalog: SecretStr
    beat_seconds: float = BEAT_SECONDS
    dead_after_seconds: float = DEAD_AFTER_SECONDS

    @contextmanager
    def hold(self, kind: Kind, name: str, text: str = "") -> Iterator[threading.Event]:
        """Hold a mark, which a thread renews; within a block that holds it, hold it on."""
        held = os.getpid(), self.catalog.get_secret_value(), kind, name
        if held in _HELD:
            yield _HELD[held]
            return
        holder = uuid4()
        mark = {"kind": kind, "name": name, "holder": holder, "text": text}
        with session(self.catalog, "lfp marks") as connection:
            taken = connection.execute(_TAKE, mark | {"host": host_name()})
            if not taken.rowcount:
                msg = f"Another process holds the mark of {kind} {name}."
                raise MarkTakenError(msg)
        renewal = _Renewal(self, holder, f"{kind} {name}")
        renewal.start()
        _HELD[held] = renewal.lost
        try:
            yield renewal.lost
        finally:
            del _HELD[held]
            renewal.end()
            # Where the database cannot be reached, the mark dies by itself.
            with suppress(LfpError), session(self.catalog, "lfp marks") as connection:
                connection.execute(_RELEASE, [holder])

    def live(self, kind: Kind) -> list[Mark]:
        """Return the marks of living processes."""
        with session(self.catalog, "lfp marks") as connection:
            rows = connection.execute(_LIVE, self._of(kind)).fetchall()
        return [Mark(*row) for row in rows]

    def dead(self, kind: Kind) -> list[Mark]:
        """Return the marks of dead processes that nobody has claimed."""
        with session(self.catalog, "lfp marks") as connection:
            rows = connection.execute(_DEAD, self._of(kind)).fetchall()
        return [Mark(*row) for row in rows]

    def claim_dead(self, kind: Kind, wanted: Callable[[Mark], bool] = every) -> Iterator[Mark]:
        """Yield the marks of dead processes. Their rows are locked meanwhile, one at a time."""
        found = self.dead(kind)
        if not found:
            return
        with session(self.catalog, "lfp marks") as connection:
            for mark in found:
                of_mark = self._of(kind, name=mark.name)
                with connection.transaction():
                    if connection.execute(_CLAIM, of_mark).fetchone() and wanted(mark):
                        yield mark
                        connection.execute(_REMOVE, of_mark)

    def expect(self, kind: Kind, names: Collection[str]) -> None:
        """Note names that processes should hold, or take soon."""
        if names:
            with session(self.catalog, "lfp marks") as connection:
                connection.execute(_EXPECT, {"kind": kind, "names": sorted(names)})

    def _of(self, kind: Kind, **others: str) -> dict[str, object]:
        return {"kind": kind, "s": self.dead_after_seconds, **others}


class _Renewal(threading.Thread):
    """Renews the mark of a holder until the end, or until the mark is gone."""

    def __init__(self, heartbeats: Heartbeats, holder: UUID, what: str) -> None:
        super().__init__(name=f"renews the mark of {what}", daemon=True)
        self._heartbeats = heartbeats
        self._holder = holder
        self._what = what
        self.lost = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew the mark; connect again after errors."""
        while not self._ended.is_set():
            try:
                with session(self._heartbeats.catalog, f"lfp {self._what}") as connection:
                    self._renew_by(connection)
                    return
            except Exception as error:  # noqa: BLE001 (without renewals, the mark dies)
                if self._ended.is_set():
                    return
                reason = str(error).partition("\n")[0]
                _LOG.warning("The mark of %s cannot be renewed: %s", self._what, reason)
            self._ended.wait(1.0)

    def _renew_by(self, connection: "psycopg.Connection[Any]") -> None:
        while True:
            if not connection.execute(_RENEW, [self._holder]).rowcount:
                _LOG.error(
                    "The mark of %s was not renewed for too long, and other hosts have declared "
                    "this process dead.",
                    self._what,
                )
                self.lost.set()
                return
            if self._ended.wait(self._heartbeats.beat_seconds):
                return

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()
        self.join(timeout=15)
