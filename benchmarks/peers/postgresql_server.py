"""A private PostgreSQL server, for as long as a measurement takes.

Found where Debian, Red Hat, Homebrew and the PATH have it. The cluster lies in the measurement's
folder; the server listens on a socket in a private folder and on the loopback address, with a
random password. The server is as durable as by default (fsync, synchronous commit), with sizes
that suit a machine like those that this is measured on, and little write-ahead logging.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg

from benchmarks.peers.peer import Peer
from examples.processes import free_port

_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
_OWNER = "postgres"
_DATABASE = "postgres"

_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "2GB",
    "work_mem": "1GB",
    "maintenance_work_mem": "1GB",
    "hash_mem_multiplier": "2",
    "max_wal_size": "16GB",
    "min_wal_size": "1GB",
    "checkpoint_timeout": "30min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "autovacuum": "on",
}

TABLES = """
CREATE TABLE products (sku text PRIMARY KEY, name text NOT NULL, description text NOT NULL);
CREATE TABLE name_counts (name text NOT NULL, no_of_products bigint NOT NULL);
"""

# Unchanged rows are not written: writing is the costliest part of PostgreSQL's upsert.
ON_CONFLICT = """
ON CONFLICT (sku) DO UPDATE SET name = excluded.name, description = excluded.description
WHERE (products.name, products.description) IS DISTINCT FROM (excluded.name, excluded.description)
"""

COUNT = """
TRUNCATE name_counts;
INSERT INTO name_counts SELECT name, count(*) FROM products GROUP BY name;
"""

_STORED = """
SELECT pg_total_relation_size('products') + pg_total_relation_size('name_counts')
"""


@dataclass(frozen=True)
class Server:
    """The address of a server."""

    socket_folder: Path
    port: int
    user: str
    password: str

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """Return a connection over the socket."""
        return psycopg.connect(
            host=str(self.socket_folder),
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=_DATABASE,
        )

    @property
    def jdbc_url(self) -> str:
        """Return the address for Java, which has no such sockets."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/{_DATABASE}"


def binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`; of several versions, the newest."""
    found = [Path(which).resolve().parent] if (which := shutil.which("postgres")) else []
    found += [folder for place in _PLACES for folder in Path("/").glob(place)]
    usable = [folder for folder in found if (folder / "initdb").exists()]
    return max(usable, key=_version, default=None)


def server_version() -> str:
    """Return the version, such as `PostgreSQL 15.13`."""
    folder = binaries()
    return f"PostgreSQL {'.'.join(map(str, _version(folder)))}" if folder else "PostgreSQL"


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Make a cluster in the folder with the tables, and serve it for the block."""
    bin_folder = binaries()
    assert bin_folder is not None  # noqa: S101 (`unavailable` was asked before)
    data = folder / "cluster"
    sockets = Path(mkdtemp(prefix="pg-"))  # A socket's path must be short.
    server = Server(sockets, free_port(), _OWNER, secrets.token_hex(16))
    owner = _OWNER if os.geteuid() == 0 else None
    data.mkdir()
    password_file = sockets / "password"
    password_file.write_text(server.password)
    if owner:
        for path in (data, sockets, password_file):
            shutil.chown(path, owner, owner)
    make = [
        *(str(bin_folder / "initdb"), f"--pgdata={data}", f"--username={_OWNER}"),
        *("--auth=scram-sha-256", f"--pwfile={password_file}"),
        *("--encoding=UTF8", "--locale=C"),
    ]
    serve = [
        *(str(bin_folder / "postgres"), "-D", str(data)),
        *("-k", str(sockets), "-h", "127.0.0.1", "-p", str(server.port)),
        *(part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")),
    ]
    try:
        subprocess.run(  # noqa: S603 (found above)
            make, cwd=data, user=owner, group=owner, stdout=subprocess.DEVNULL, check=True
        )
        process = subprocess.Popen(serve, cwd=data, user=owner, group=owner)  # noqa: S603
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown.
            process.wait()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


class PostgreSQLPeer(Peer):
    """A tool that stores in a server of its own."""

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why there is no server: it is a package of the system."""
        if binaries() is None:
            return "PostgreSQL's server is not installed"
        if os.geteuid() == 0 and not _has_owner():
            return f"PostgreSQL does not run as root, and there is no user {_OWNER}"
        return None

    def start(self) -> None:
        with ExitStack() as stack:
            self._server = stack.enter_context(running_server(self.folder))
            self.prepare(stack)
            self._running = stack.pop_all()

    def prepare(self, stack: ExitStack) -> None:
        """Start what the tool needs beside the server; the stack ends it."""

    def stop(self) -> None:
        self._running.close()

    def dump(self, products_csv: Path, counts_csv: Path) -> None:
        with self._server.connect() as connection:
            for table, columns, path in (
                ("products", "sku, name, description", products_csv),
                ("name_counts", "name, no_of_products", counts_csv),
            ):
                command = f"COPY {table} ({columns}) TO STDOUT (FORMAT csv, HEADER)"
                with path.open("wb") as file, connection.cursor().copy(command) as blocks:
                    file.writelines(blocks)

    def stored_bytes(self) -> int:
        """The tables and the index, without a staging table and the log."""
        with self._server.connect() as connection:
            row = connection.execute(_STORED).fetchone()
        return int(row[0]) if row else 0


def _version(folder: Path) -> tuple[int, ...]:
    command = [str(folder / "postgres"), "--version"]
    output = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return tuple(int(part) for part in output.stdout.split()[2].split(".") if part.isdigit())


def _has_owner() -> bool:
    try:
        pwd.getpwnam(_OWNER)
    except KeyError:
        return False
    return True


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with server.connect() as connection:
                connection.execute(TABLES)
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
