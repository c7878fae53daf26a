"""Feed servers and `dagster dev` as processes that end with a block."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import dagster as dg
import duckdb

from lfp_pipeline.common.project_folder import TEMPLATES

_PROJECT = Path(__file__).resolve().parents[1]
_LONGEST_WAIT_SECONDS = 180.0
_PAUSE_SECONDS = 0.2
_TRIES = 100

_SOURCE = """\
  - name: {name}
    kind: sense
    location: {url}
    interval: {interval}
"""


@dataclass(frozen=True)
class Feed:
    """A running feed server.

    Attributes:
        name: of the shop.
        url: of the server.
        process: of the server.
        log: of requests.
    """

    name: str
    url: str
    process: subprocess.Popen[str]
    log: Path

    def change(self, sku: str, name: str, description: str) -> None:
        """Change a product, as a browser does that sends the form of the page.

        Raises:
            urllib.error.HTTPError: the shop has refused the change.
        """
        form = urlencode({"sku": sku, "name": name, "description": description})
        request = Request(f"{self.url}/update", form.encode(), {"Origin": self.url})  # noqa: S310
        urlopen(request, timeout=60).close()  # noqa: S310 (an address of ours)


@dataclass(frozen=True)
class Dagster:
    """A running `dagster dev`, and its data folder."""

    url: str
    process: subprocess.Popen[str]
    data: Path
    log: Path

    def notes(self) -> int:
        """Return the number of status notes, without opening the database."""
        return len(list(self.data.glob("raw/*/*.outcome")))

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Query the database: wait while others write; nothing can write meanwhile.

        Raises:
            duckdb.IOException: others do not stop writing, or there is no database yet.
        """
        for remaining in reversed(range(_TRIES)):
            try:
                with duckdb.connect(self.data / "products.duckdb", read_only=True) as connection:
                    return connection.execute(sql, values).fetchall()
            except duckdb.IOException:
                if not remaining:
                    raise
                time.sleep(_PAUSE_SECONDS)
        return []

    def until(self, done: Callable[[], bool], seconds: float = _LONGEST_WAIT_SECONDS) -> float:
        """Wait until a condition holds.

        Args:
            done: the condition.
            seconds: the longest wait.

        Returns:
            The seconds of the wait.

        Raises:
            RuntimeError: the wait was too long, or Dagster has ended; with the end of its log.
        """
        start = time.monotonic()
        while not done():
            log = self.log.read_text(errors="replace")[-5_000:]
            if self.process.poll() is not None:
                msg = f"Dagster has ended:\n{log}"
                raise RuntimeError(msg)
            if time.monotonic() - start > seconds:
                msg = f"The condition does not hold after {seconds:.0f} s:\n{log}"
                raise RuntimeError(msg)
            time.sleep(_PAUSE_SECONDS)
        return time.monotonic() - start


@contextmanager
def feed_server(folder: Path, name: str, *options: object) -> Iterator[Feed]:
    """Run a feed server for the block.

    Args:
        folder: with the product file.
        name: of the shop.
        options: of the server's command line; the port is a free one.
    """
    command = ["-m", "examples.feed_server", str(folder), "--name", name, "--port", "0"]
    log = folder / "server.log"
    with _running([*command, *map(str, options)], log, {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        url = process.stdout.readline().strip()
        if not url:
            msg = f"The feed server did not start:\n{log.read_text(errors='replace')}"
            raise RuntimeError(msg)
        yield Feed(name, url, process, log)


@contextmanager
def dagster_dev(
    folder: Path, feeds: Mapping[str, str], interval: int = 2, **more: object
) -> Iterator[Dagster]:
    """Run `dagster dev` for the block, with feeds as its sources.

    Args:
        folder: for the instance, the data and the list of sources.
        feeds: URLs by name.
        interval: seconds between two polls.
        more: settings of the pipeline.
    """
    home, data = folder / "home", folder / "data"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(TEMPLATES / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)  # Makes its tables, which two processes at once could not.
    sources = folder / "sources.yaml"
    listed = [_SOURCE.format(name=name, url=url, interval=interval) for name, url in feeds.items()]
    sources.write_text("sources:\n" + "".join(listed))
    settings = {
        "DAGSTER_HOME": str(home),
        "LFP_DATA_DIR": str(data),
        "LFP_SOURCES_FILE": str(sources),
        "LFP_ALLOWED_HOSTS": "127.0.0.0/8",
        "LFP_SENSOR_INTERVAL_SECONDS": str(interval),
    } | {f"LFP_{name.upper()}": str(value) for name, value in more.items()}
    port = free_port()
    log = folder / "dagster.log"
    with _running(["-m", "dagster", "dev", "--port", str(port)], log, settings) as process:
        yield Dagster(f"http://127.0.0.1:{port}", process, data, log)


@contextmanager
def _running(
    arguments: Sequence[str],
    log: Path,
    settings: Mapping[str, str],
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a Python process of ours for the block, and end all that it starts."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LFP_") or name == "LFP_SETTINGS_FILE"
    }
    with (
        log.open("ab") as printed,
        subprocess.Popen(  # noqa: S603 (ours)
            [sys.executable, *arguments],
            cwd=_PROJECT,
            env={**kept, "PYTHONWARNINGS": "ignore", **settings},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout or printed,
            stderr=printed,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process that leads a session, with all its children: by SIGINT, SIGTERM, SIGKILL.

    A process that a script has put in the background ignores SIGINT, and so do its children.
    Dagster handles SIGTERM like SIGINT. So only SIGKILL is left then.
    """
    ignores_sigint = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    gentle = () if ignores_sigint else ((signal.SIGINT, 10), (signal.SIGTERM, 5))
    for number, seconds in (*gentle, (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with suppress(ProcessLookupError):  # Children that outlived their parent.
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
