"""The writer lock of a lake: an advisory lock in PostgreSQL, with the right to commit.

PostgreSQL frees the lock when the connection of its holder ends, whatever ended it. The holder then
may not know that; the fence (`lake_catalog`) refuses its commits. The connection of a suspended
process does not end by itself: a process that waits for the lock ends it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError, LfpError, WarehouseBusyError
from lfp_pipeline.hosts.heartbeats import BEAT_SECONDS, DEAD_AFTER_SECONDS
from lfp_pipeline.hosts.postgres import connect, place_of
from lfp_pipeline.warehouse.lake_catalog import FENCE_ERROR, LakeState, verified_state
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
_ADMIT = "UPDATE lfp.writer SET token = %(token)s WHERE backend = pg_backend_pid()"

_SHOW = """
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

_HOLDER = f"""
SELECT purpose, pid, host, {_AGE} FROM lfp.writer WHERE backend IN ({_LOCKS} AND granted)
"""

_WAITING = f"""
SELECT purpose, pid, host, {_AGE} FROM lfp.waiting_writer
WHERE backend IN ({_LOCKS} AND NOT granted) ORDER BY since
"""

# The transaction of a commit in flight locks the row that the next holder changes.
_END_SUSPENDED = f"""
SELECT pg_terminate_backend(process.pid)
FROM pg_stat_activity AS holder JOIN pg_stat_activity AS process
    ON process.pid = holder.pid
    OR process.application_name = (SELECT token FROM lfp.writer)
WHERE holder.pid IN ({_LOCKS} AND granted) AND holder.state = 'idle'
    AND holder.state_change < clock_timestamp() - make_interval(secs => %(seconds)s)
"""


@dataclass
class Hold:
    """The lock while this process holds it.

    Attributes:
        connection: the connection that has the lock.
        turns: sessions that commit under the same hold do so one at a time.
    """

    lock: "CatalogLock"
    purpose: str
    connection: "psycopg.Connection[Any]"
    turns: Any = field(default_factory=threading.RLock)
    _tokens: list[str | None] = field(default_factory=lambda: [None])

    @contextmanager
    def admitting(self, token: str) -> Iterator[None]:
        """Let the connection with a token commit, during the block, and no other.

        Raises:
            WarehouseBusyError: the lock was lost; what was not committed before is not.
        """
        with self.naming_loss():
            self._tokens.append(token)
            try:
                self._admit_last()
                yield
            finally:
                self._tokens.pop()
                with suppress(*_database_errors()):  # Another process may have the lock.
                    self._admit_last()

    @contextmanager
    def naming_loss(self) -> Iterator[None]:
        """Raise a WarehouseBusyError for an error of the block if the lock is lost.

        Any error: another process may write meanwhile, so that the counts of the block are wrong.
        """
        try:
            yield
        except WarehouseBusyError:
            raise
        except Exception as error:
            if FENCE_ERROR in str(error) or self.is_lost:
                raise self._loss() from None
            raise

    @property
    def is_lost(self) -> bool:
        """Whether the connection with the lock has ended."""
        try:
            self.connection.execute("SELECT 1")
        except _database_errors():
            return True
        return False

    def state(self) -> LakeState:
        """Return the state of the catalog; raise a WarehouseInconsistentError if it is unsafe."""
        return self.lock.verified_state(self.connection)

    def require(self) -> None:
        """Raise a WarehouseBusyError if the lock is lost."""
        if self.is_lost:
            raise self._loss()

    def _admit_last(self) -> None:
        self.connection.execute(_ADMIT, {"token": self._tokens[-1]})

    def _loss(self) -> WarehouseBusyError:
        holder: object = None
        with suppress(LfpError):
            holder = self.lock.holder
        return WarehouseBusyError(
            f"The writer lock was lost while {self.purpose}, because its connection to the "
            f"catalog at {place_of(self.lock.url)} ended; it was lost to {holder or 'nobody yet'}. "
            "What was not committed until then is not in the tables; the next run merges it."
        )


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
    shared: "SharedHold"
    outer: "SharedHold | None" = None

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
            except _database_errors()[1] as error:
                if not connection.closed:
                    raise
                msg = f"The connection to the catalog at {place_of(self.url)} ended: {error}"
                raise CatalogUnreachableError(msg) from None

    def _acquire(
        self, connection: "psycopg.Connection[Any]", purpose: str, log: logging.Logger
    ) -> None:
        connection.execute(_BEGIN)
        this = {"purpose": purpose, "pid": os.getpid(), "host": socket.gethostname()}
        wait_for_lock(
            partial(_acquired, connection),
            partial(_living_holder, connection, log),
            partial(_shown_as_waiting, connection, this, self.wait_seconds),
            self.wait_seconds,
            log,
        )
        connection.execute("SET lock_timeout = 0")
        connection.execute(_TAKE, this)


@dataclass
class SharedHold:
    """The hold of a lake that this process has now, if any; copies of the lake share it."""

    hold: Hold | None = None

    @contextmanager
    def set_to(self, hold: Hold) -> Iterator[None]:
        """Have this hold for the block."""
        before, self.hold = self.hold, hold
        try:
            yield
        finally:
            if self.hold is hold:
                self.hold = before


def _acquired(connection: "psycopg.Connection[Any]", seconds: float) -> bool:
    import psycopg  # noqa: PLC0415 (only where several hosts work together)

    connection.execute(f"SET lock_timeout = {max(int(seconds * 1000), 1)}")
    try:
        connection.execute(_LOCK)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@contextmanager
def _shown_as_waiting(
    connection: "psycopg.Connection[Any]", this: dict[str, object], wait_seconds: float
) -> Iterator[None]:
    if wait_seconds:
        connection.execute(_SHOW, this)
    yield
    connection.execute(_HIDE)


@contextmanager
def _in_use(connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Use a connection every few seconds for the block, which shows that this process works."""
    ended = threading.Event()

    def use() -> None:
        with suppress(*_database_errors()):
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


def _database_errors() -> tuple[type[Exception], ...]:
    import psycopg  # noqa: PLC0415 (only where several hosts work together)

    return duckdb.Error, psycopg.Error
