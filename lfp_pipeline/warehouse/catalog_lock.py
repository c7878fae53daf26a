"""The writer lock of a lake: an advisory lock in PostgreSQL, with the right to commit.

PostgreSQL frees the lock when the connection of its holder ends, whatever ended it. The holder then
may not know that; the fence (`lake_catalog`) refuses its commits. The connection of a suspended
process does not end by itself: a process that waits for the lock ends it.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError
from lfp_pipeline.hosts.heartbeats import BEAT_SECONDS, DEAD_AFTER_SECONDS
from lfp_pipeline.hosts.liveness import host_name
from lfp_pipeline.hosts.postgres import connect, place_of
from lfp_pipeline.warehouse.lake_catalog import LakeState, verified_state
from lfp_pipeline.warehouse.lake_hold import Hold, SharedHold, database_errors
from lfp_pipeline.warehouse.writer_lock import LockHolder, WriterLock, wait_for_lock

if TYPE_CHECKING:
    import psycopg

_KEY = "hashtextextended('lfp.writer', 0)"

_LOCK = f"SELECT pg_advisory_lock({_KEY})"

# A process that died while it waited leaves the queue at once.
_BEGIN = "SET client_connection_check_interval = '2s'; SET idle_session_timeout = 0"

# Waits for a commit in flight; no other statement can hold the row for long.
_TAKE = """
UPDATE lfp.writer SET token = NULL, backend = pg_backend_pid(), purpose = %(purpose)s,
    pid = %(pid)s, host = %(host)s, since = clock_timestamp()
"""

# Rows of processes that were killed while they waited are removed, too.
_SHOW = """
WITH gone AS (
    DELETE FROM lfp.waiting_writer
    WHERE backend NOT IN (SELECT pid FROM pg_stat_activity) OR backend = pg_backend_pid()
)
INSERT INTO lfp.waiting_writer
VALUES (pg_backend_pid(), %(purpose)s, %(pid)s, %(host)s, clock_timestamp() - interval '1 s')
"""
_HIDE = "DELETE FROM lfp.waiting_writer WHERE backend = pg_backend_pid()"

# The age is PostgreSQL's: the clocks of hosts differ.
_AGE = "extract(epoch FROM clock_timestamp() - since)::float8"

_LOCKS = f"""
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )
    AND (classid::bigint << 32) | objid::bigint = {_KEY}
"""

# Connections in transactions that have passed the fence: commits in flight.
_COMMITS = """
SELECT pid FROM pg_locks
WHERE relation = 'lfp.writer'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
    AND granted AND pid <> pg_backend_pid()
"""

# While a commit of the former holder is in flight, the next one waits with the lock.
_HOLDER = f"""
SELECT purpose, pid, host, {_AGE} FROM lfp.writer
WHERE backend IN ({_LOCKS} AND granted) OR EXISTS ({_COMMITS})
"""

_WAITING = f"""
SELECT purpose, pid, host, {_AGE} FROM lfp.waiting_writer
WHERE backend IN ({_LOCKS} AND NOT granted) ORDER BY since
"""

# A commit in flight locks the row that the next holder changes. While its connection is idle in the
# transaction, the client has not sent COMMIT.
_END_SUSPENDED = f"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE state_change < clock_timestamp() - make_interval(secs => %(seconds)s) AND (
    (state = 'idle' AND pid IN ({_LOCKS} AND granted))
    OR (state LIKE 'idle in transaction%%' AND pid IN ({_COMMITS}))
)
"""


@dataclass(frozen=True)
class CatalogLock(WriterLock):
    """The lock of one catalog.

    Attributes:
        url: the catalog's database.
        data_path: where the files of the lake must be.
        wait_seconds: the longest wait.
        shared: the hold of this process, once it has the lock.
        outer: of a shadow, the hold of its lake; under that hold, the shadow needs no other.
    """

    url: SecretStr
    data_path: str
    wait_seconds: float
    shared: SharedHold
    outer: SharedHold | None = None

    @contextmanager
    def held(self, purpose: str, log: logging.Logger) -> Iterator[Hold]:
        """Hold the lock for the block, and show the purpose to other processes.

        Raises:
            WarehouseBusyError: another run held the lock for longer than the longest wait; or the
                lock was lost during the block.
            CatalogUnreachableError: PostgreSQL does not answer.
            WarehouseInconsistentError: the catalog is not what this program needs.
        """
        if self.outer is not None and (hold := self.outer.hold) is not None:
            with hold.turns, self.shared.set_to(hold):
                yield hold
            return
        with self._connected("lfp writer lock") as connection:
            self.verified_state(connection)
            self._acquire(connection, purpose, log)
            hold = Hold(self, purpose, connection)
            with _in_use(connection), self.shared.set_to(hold), hold.naming_loss():
                yield hold
            hold.require()

    def verified_state(self, connection: "psycopg.Connection[Any]") -> LakeState:
        """Return the state of the catalog; raise a WarehouseInconsistentError if it is unsafe."""
        return verified_state(connection, place_of(self.url), self.data_path)

    @property
    def holder(self) -> LockHolder | None:
        """The holder; None where there is none."""
        found = self._processes(_HOLDER)
        return found[0] if found else None

    @property
    def waiting(self) -> list[LockHolder]:
        """The waiting processes, the longest first."""
        return self._processes(_WAITING)

    def _processes(self, statement: str) -> list[LockHolder]:
        from psycopg.errors import InsufficientPrivilege, UndefinedTable  # noqa: PLC0415

        with self._connected("lfp status") as connection:
            try:
                return _processes(connection, statement)
            except (UndefinedTable, InsufficientPrivilege):
                return []  # There is no lake yet, or this role only reads the tables.

    @contextmanager
    def _connected(self, name: str) -> Iterator["psycopg.Connection[Any]"]:
        """Yield a connection; raise a CatalogUnreachableError if it ends during the block."""
        with closing(connect(self.url, name)) as connection:
            try:
                yield connection
            except database_errors()[1] as error:
                if not connection.closed:
                    raise
                msg = f"The connection to the catalog at {place_of(self.url)} ended: {error}"
                raise CatalogUnreachableError(msg) from None

    def _acquire(
        self, connection: "psycopg.Connection[Any]", purpose: str, log: logging.Logger
    ) -> None:
        connection.execute(_BEGIN)
        this: dict[str, object] = {"purpose": purpose, "pid": os.getpid(), "host": host_name()}
        wait_for_lock(
            partial(_acquired, connection, this),
            partial(_living_holder, connection, log),
            partial(_shown_as_waiting, connection, this, self.wait_seconds),
            self.wait_seconds,
            log,
        )
        connection.execute("SET lock_timeout = 0")


def _acquired(
    connection: "psycopg.Connection[Any]", this: dict[str, object], seconds: float
) -> bool:
    import psycopg  # noqa: PLC0415 (only where several hosts work together)

    connection.execute(f"SET lock_timeout = {max(int(seconds * 1000), 1)}")
    try:
        connection.execute(_LOCK)  # Returns at once if an earlier try has got it.
        connection.execute(_TAKE, this)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@contextmanager
def _shown_as_waiting(
    connection: "psycopg.Connection[Any]", this: dict[str, object], wait_seconds: float
) -> Iterator[None]:
    if wait_seconds:
        connection.execute(_SHOW, this)
    try:
        yield
    finally:
        with suppress(*database_errors()):  # The row of a lost connection does not count.
            connection.execute(_HIDE)


@contextmanager
def _in_use(connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Use a connection every few seconds for the block, which shows that this process works."""
    ended = threading.Event()

    def use() -> None:
        with suppress(*database_errors()):
            while not ended.wait(BEAT_SECONDS):
                connection.execute("SELECT 1")

    thread = threading.Thread(target=use, name="uses the writer lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _living_holder(connection: "psycopg.Connection[Any]", log: logging.Logger) -> LockHolder | None:
    """Return the holder; end the connections of one that has not used its own for a minute."""
    holder = next(iter(_processes(connection, _HOLDER)), None)
    if connection.execute(_END_SUSPENDED, {"seconds": DEAD_AFTER_SECONDS}).rowcount:
        log.warning(
            "The holder of the writer lock, %s, has shown no sign of life for %.0f s, so its "
            "connections were ended. It cannot commit any more.",
            holder or "which is unknown",
            DEAD_AFTER_SECONDS,
        )
    return holder


def _processes(connection: "psycopg.Connection[Any]", statement: str) -> list[LockHolder]:
    now = time.time()
    found = connection.execute(statement).fetchall()
    return [LockHolder(purpose, pid, host, now - age) for purpose, pid, host, age in found]
