"""A PostgreSQL server of Debian's packages, for tests: on loopback, with its data in a folder."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from pydantic import SecretStr

from examples.processes import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"

# Without syncs: what the tests kill is processes, and the kernel keeps what these have written.
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 200
"""


def missing() -> str | None:
    """Return what is missing for tests with PostgreSQL; None: nothing."""
    if not PROGRAMS:
        return "PostgreSQL is not installed (Debian's package postgresql)"
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError:
        return "psycopg is not installed (make test-cluster has it)"
    return None


class PostgresServer:
    """A server that is running, or can be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"

    def create(self) -> None:
        """Create the server's data folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            shutil.chown(self.folder, USER)
        self._run("initdb", "-A", "trust", "-U", "lfp", "-D", str(self._data), "--no-sync")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}port = {self.port}\n")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is like a crash, `fast` ends it in order."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def require_password(self, user: str) -> None:
        """Refuse a user without a password from now on, or soon; the others need none."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {user} all scram-sha-256\n{rules.read_text()}")
        self._run("pg_ctl", "-D", str(self._data), "reload")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://lfp@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Create a database, empty or as a copy of another one, and return its URL."""
        import psycopg  # noqa: PLC0415

        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, and end the connections to it."""
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(PROGRAMS[-1] / program), *arguments]
        if os.geteuid() == 0:  # The server refuses to run as root.
            user = pwd.getpwnam(USER)
            done = subprocess.run(
                command,
                user=user.pw_uid,
                group=user.pw_gid,
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            )
        else:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


@contextmanager
def running_server(folder: Path | None = None) -> Iterator[PostgresServer]:
    """Run a new server for the block; then stop and remove it.

    Args:
        folder: where its data is, which its user must be able to enter. The folders that pytest
            makes are not such; default: the folder for temporary files.
    """
    with TemporaryDirectory(prefix="lfp-postgres-", dir=folder, ignore_cleanup_errors=True) as data:
        server = PostgresServer(Path(data))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Return a server that runs until the last test has ended."""
    if why := missing():
        pytest.skip(why)
    with running_server() as server:
        yield server


@pytest.fixture
def catalog_url(postgres: PostgresServer) -> SecretStr:
    """Return the URL of a new, empty database."""
    return SecretStr(postgres.create_database())
