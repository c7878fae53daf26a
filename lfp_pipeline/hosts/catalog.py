"""Statements in the catalog's database: on one connection a thread, which stays open."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

from pydantic import SecretStr

from lfp_pipeline.errors import CatalogUnreachableError
from lfp_pipeline.hosts.postgres import connect, place_of, translating_errors

if TYPE_CHECKING:
    import psycopg

Row = tuple[Any, ...]
Answer = TypeVar("Answer")


class Catalog:
    """The database of a catalog. Any number of threads may use it at once.

    A connection that was lost, such as by a restart of the server, is replaced by the next
    statement. So a statement outside of a transaction may run twice, and must do the same then.
    """

    def __init__(self, url: SecretStr, name: str) -> None:
        """Use the database at a URL.

        Args:
            name: the name of the connections in `pg_stat_activity`.
        """
        self._url = url
        self._name = name
        self._of_thread = threading.local()

    @property
    def location(self) -> str:
        """Host, port and database, for people."""
        return place_of(self._url)

    def run(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        """Run a statement, in the transaction of the block if there is one, and return its rows.

        Raises:
            CatalogUnreachableError: the server does not answer, or has ended the transaction.
            SettingsError: the tables are missing.
        """

        def run(connection: "psycopg.Connection[Any]") -> list[Row]:
            done = connection.execute(sql, values)
            return done.fetchall() if done.description else []

        present = self._present()
        if present is not None and present.is_in_transaction:
            with translating_errors(self._url):
                return run(present.connection)
        return self._on_live_connection(run)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements of this thread in the block as one transaction.

        Each statement sees what others have committed before it. Blocks must not be nested.
        """
        self._on_live_connection(lambda connection: connection.execute("BEGIN"))
        thread = self._connected()
        thread.is_in_transaction = True
        try:
            yield
            with translating_errors(self._url):
                thread.connection.execute("COMMIT")
        except BaseException:
            with suppress(Exception):  # The connection may be lost.
                thread.connection.execute("ROLLBACK")
            raise
        finally:
            thread.is_in_transaction = False

    def _on_live_connection(self, work: "Callable[[psycopg.Connection[Any]], Answer]") -> Answer:
        """Do work on the connection of this thread; if that is lost, again on a new one."""
        thread = self._connected()
        try:
            with translating_errors(self._url):
                return work(thread.connection)
        except CatalogUnreachableError:
            if not thread.connection.closed:
                raise
        with translating_errors(self._url):
            return work(self._connected().connection)

    def _connected(self) -> "_Connected":
        """Return the connection of this thread, or a new one."""
        thread = self._present()
        if thread is None or thread.connection.closed:
            thread = self._of_thread.connected = _Connected(connect(self._url, self._name))
        return thread

    def _present(self) -> "_Connected | None":
        """Return the connection of this thread, lost or not; not that of a parent process."""
        thread: _Connected | None = getattr(self._of_thread, "connected", None)
        return thread if thread and thread.process == os.getpid() else None


class _Connected:
    """A connection of a thread, and its state. It is closed when the thread or the process ends."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.connection = connection
        self.process = os.getpid()
        self.is_in_transaction = False
        finalize(self, _close, connection, self.process)


def _close(connection: "psycopg.Connection[Any]", process: int) -> None:
    if process == os.getpid():  # A forked process must not end the connection of its parent.
        connection.close()


@lru_cache(maxsize=8)
def catalog_at(url: SecretStr, name: str) -> Catalog:
    """Return a catalog; its connections are shared by all that ask for it by these arguments."""
    return Catalog(url, name)
