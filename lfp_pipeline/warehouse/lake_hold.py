"""The writer lock of a lake while this process holds it, and the right to commit that it gives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from lfp_pipeline.errors import LfpError, WarehouseBusyError
from lfp_pipeline.hosts.postgres import place_of
from lfp_pipeline.warehouse.lake_catalog import FENCE_ERROR, LakeState

if TYPE_CHECKING:
    import psycopg

    from lfp_pipeline.warehouse.catalog_lock import CatalogLock

_ADMIT = "UPDATE lfp.writer SET token = %(token)s WHERE backend = pg_backend_pid()"


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
                with suppress(*database_errors()):  # Another process may have the lock.
                    self._admit_last()

    @contextmanager
    def naming_loss(self) -> Iterator[None]:
        """Raise a WarehouseBusyError for an error of the block if the lock is lost.

        Every error of the block counts, because another process may have changed the tables.
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
        except database_errors():
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
        holder = None
        with suppress(LfpError):
            holder = self.lock.holder
        now = f"{holder} has it now" if holder else "no other process has taken it yet"
        return WarehouseBusyError(
            f"The writer lock was lost while {self.purpose}, because its connection to the "
            f"catalog at {place_of(self.lock.url)} ended; {now}. What was not committed until then "
            "is not in the tables; the next run merges it."
        )


@dataclass
class SharedHold:
    """The hold of a lake that this process has now, if any; copies of the lake share it."""

    _holds: list[tuple[int, Hold]] = field(default_factory=list)

    @property
    def hold(self) -> Hold | None:
        """The hold of this thread; else the last one: threads work under the hold of another."""
        this = threading.get_ident()
        holds = [hold for thread, hold in self._holds if thread == this]
        holds = holds or [hold for _, hold in self._holds]
        return holds[-1] if holds else None

    @contextmanager
    def set_to(self, hold: Hold) -> Iterator[None]:
        """Have this hold for the block."""
        entry = threading.get_ident(), hold
        self._holds.append(entry)
        try:
            yield
        finally:
            self._holds.remove(entry)  # Others may have come since, if this one lost the lock.


def database_errors() -> tuple[type[Exception], ...]:
    """Return the classes of all errors of DuckDB and of PostgreSQL."""
    import psycopg  # noqa: PLC0415 (only where several hosts work together)

    return duckdb.Error, psycopg.Error
