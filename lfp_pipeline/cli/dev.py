"""`lfp dev`: starts the Dagster UI and daemon, and watches the inbox."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import click

_LOCAL = "127.0.0.1"
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 90
"""Dagster itself gives its processes 60 seconds to end."""


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--host", default=_LOCAL, show_default=True, help="Address of the UI.")
def command(port: int, host: str) -> None:
    """Start the Dagster UI, and ingest what is dropped into the inbox, until Ctrl-C.

    Example: lfp dev --port 3001
    """
    from lfp_pipeline.cli.check import problems_of_settings
    from lfp_pipeline.cli.dagster_home import prepared_home
    from lfp_pipeline.cli.output import BUSY, FAILED, say

    if problems := problems_of_settings():
        say("\n".join(problems))
        raise SystemExit(FAILED)
    if not _is_free(host, port):
        with_make = "MAKELEVEL" in os.environ
        other = f"make dev PORT={port + 1}" if with_make else f"lfp dev --port {port + 1}"
        say(f"Port {port} is in use. Another one: {other}")
        raise SystemExit(FAILED)
    home = prepared_home()
    with _only_one(home / "dev.lock") as lock:
        if lock is None:
            say(f"Another `lfp dev` uses the Dagster home {home}. End it first.")
            raise SystemExit(BUSY)
        say("Starting the Dagster UI and daemon ...")
        ended_well = _run(["--host", host, "--port", str(port)], _url(host, port), lock)
    if not ended_well:
        say("Dagster has ended by itself: see above.")
        raise SystemExit(FAILED)


def _is_free(host: str, port: int) -> bool:
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        msg = f"{host} is no address of this machine: {error.strerror}"
        raise click.BadParameter(msg, param_hint="--host") from None
    with socket.socket(family, kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(address)
            server.listen()
        except OSError:
            return False
    return True


def _url(host: str, port: int) -> str:
    shown = {_LOCAL: "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


@contextmanager
def _only_one(path: Path) -> Iterator[int | None]:
    """Hold a lock for the block; yield its descriptor, or None if another process has it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _run(options: list[str], url: str, lock: int) -> bool:
    """Run `dagster dev` until it ends or this process is to end; return whether that was asked."""
    from lfp_pipeline.common.project_folder import TEMPLATES, project_root

    root = project_root()
    if not (root / "workspace.yaml").exists():
        options = [*options, "-w", str(TEMPLATES / "workspace.yaml")]
    # Signals for this process are passed on from here, so the child has a group of its own. It
    # inherits the lock: if this process is killed, the lock is held until the child ends, too.
    child: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def end(signum: int, _frame: object) -> None:
        asked.append(signum)
        if child:
            _signal_group(child, signal.SIGINT if len(asked) == 1 else signal.SIGKILL)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, end)
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "dagster", "dev", "--log-level", "warning", *options],
        cwd=root,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[lock],
    )
    if asked:
        _signal_group(child, signal.SIGINT)
    Thread(target=_announce, args=(url, child), daemon=True).start()
    child.wait()
    _signal_group(child, signal.SIGKILL)  # What it has left behind.
    return bool(asked)


def _signal_group(child: subprocess.Popen[bytes], signum: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signum)


def _announce(url: str, child: subprocess.Popen[bytes]) -> None:
    """Print the address once the page answers."""
    from urllib.request import urlopen

    from lfp_pipeline.cli.output import say

    while child.poll() is None:
        with suppress(OSError), urlopen(f"{url}/server_info", timeout=5):  # noqa: S310
            say(f"The Dagster UI is at {url}. Below is what runs say; Ctrl-C ends it.")
            return
        time.sleep(_POLL_SECONDS)
