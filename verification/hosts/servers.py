"""The servers of the bench, each on a host: PostgreSQL, Redis and the object store."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from testing import postgres
from testing.postgres import PostgresServer
from testing.processes import until
from verification.hosts.network import Host
from verification.hosts.object_store import Faults, set_faults

PASSWORD = "never-in-a-log"  # noqa: S105 (of servers that last as long as the bench)

_USERS = "local all all trust\nhost all all all scram-sha-256\n"


@dataclass
class Server:
    """A server process on a host; it keeps its data when it is started again.

    Attributes:
        host: the machine.
        port: where it listens.
        folder: for its data and its log.
    """

    host: Host
    port: int
    folder: Path
    crash: ClassVar[int] = signal.SIGKILL
    """The signal that ends it at once."""
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def command(self) -> Sequence[str]:
        """Return the command that serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        with (self.folder / "log").open("a") as log:
            process = self.host.start(self.command(), {}, stdout=log, stderr=log)
        self._process = process
        until(lambda: self._is_up() or process.poll() is not None)
        assert process.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        """End the server at once, as a crash does."""
        if self._process is not None:
            self.host.signal(self._process, self.crash)
            self._process.wait()

    def restart(self) -> None:
        """Crash the server, and start it again with its data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop the server from doing anything; its connections stay."""
        assert self._process is not None
        self.host.signal(self._process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self._process is not None
        self.host.signal(self._process, signal.SIGCONT)

    @property
    def address(self) -> str:
        """Its address and port."""
        return f"{self.host.address}:{self.port}"

    def _is_up(self) -> bool:
        try:
            socket.create_connection((self.host.address, self.port), 1).close()
        except OSError:
            return False
        return True


class Postgres(Server):
    """PostgreSQL, with a password over the network, and none for the bench."""

    crash = signal.SIGQUIT

    def create(self) -> None:
        """Create the data folder and the user's password."""
        PostgresServer(self.folder).create()
        (self._data / "pg_hba.conf").write_text(_USERS)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = '{self.host.address}'\nport = {self.port}\n")
            file.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()
        self.execute(f"ALTER USER lfp PASSWORD '{PASSWORD}'")

    def command(self) -> Sequence[str]:
        user, program = postgres.USER, str(postgres.PROGRAMS[-1] / "postgres")
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*(as_user if os.geteuid() == 0 else []), program, "-D", str(self._data)]

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement as the superuser, over a socket that no cut cable affects."""
        import psycopg  # noqa: PLC0415 (only cluster mode has it)

        where = {"host": str(self.folder), "port": self.port, "user": "lfp", "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """Return the URL of a database, without the password."""
        return f"postgresql://lfp@{self.address}/{database}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _is_up(self) -> bool:
        try:
            self.execute("SELECT 1")
        except Exception:  # noqa: BLE001 (psycopg's, which is imported where it is used)
            return False
        return True


class Redis(Server):
    """Redis, with a password, and with all writes in a file."""

    def command(self) -> Sequence[str]:
        configuration = self.folder / "redis.conf"
        configuration.write_text(
            f"port {self.port}\nbind {self.host.address}\nrequirepass {PASSWORD}\n"
            f"dir {self.folder}\nappendonly yes\nsave ''\n"
        )
        return ["redis-server", str(configuration)]

    def lose_data(self) -> None:
        """Crash, and start without the data."""
        self.stop()
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{PASSWORD}@{self.address}/0"


class Store(Server):
    """The object store; it loses its objects when it ends, so it is only paused."""

    def command(self) -> Sequence[str]:
        module = "verification.hosts.object_store"
        return [sys.executable, "-m", module, self.host.address, str(self.port)]

    def set_faults(self, faults: Faults) -> None:
        """Set the faults of the requests from now on."""
        set_faults(self.url, faults)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://{self.address}"
