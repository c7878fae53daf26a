"""A Redis server of Debian's packages, for tests: on loopback, in memory only."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import SecretStr

from examples.processes import free_port
from testing.processes import until

PASSWORD = "s3cret-broker"  # noqa: S105 (of a server for tests)


def missing() -> str | None:
    """Return what is missing for tests with Redis; None: nothing."""
    if shutil.which("redis-server") is None:
        return "Redis is not installed (Debian's package redis-server)"
    try:
        import redis  # noqa: F401, PLC0415
    except ImportError:
        return "redis is not installed (make test-cluster has it)"
    return None


class RedisServer:
    """A server that is running, or can be started again, empty."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of a database."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start the server with further options, and wait until it answers."""
        import redis  # noqa: PLC0415

        options += ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        options += ("--requirepass", PASSWORD)
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--dir", str(self._folder), *options],
            stdout=subprocess.DEVNULL,
        )

        def answers() -> bool:
            try:
                return bool(self.client().ping())
            except redis.ConnectionError:
                return False

        until(answers)

    def stop(self) -> None:
        """Kill the server: what it had is lost."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def client(self) -> Any:  # noqa: ANN401 (of an optional package)
        """Return a client."""
        import redis  # noqa: PLC0415

        return redis.Redis.from_url(self.url)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Return a running server; it is stopped after the test."""
    if why := missing():
        pytest.skip(why)
    with TemporaryDirectory(prefix="lfp-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def broker_url(redis_server: RedisServer) -> SecretStr:
    """Return the URL of an empty server."""
    return SecretStr(redis_server.url)
