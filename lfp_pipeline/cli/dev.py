"""`lfp dev`: starts the Dagster UI and daemon, and watches the inbox."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

import click

_LOCAL = "127.0.0.1"
_LARGEST_PORT = 65535
_POLL_SECONDS = 0.2
_STDERR = 2
_GRACE_SECONDS = 5.0
"""Time for processes to end by themselves. A merge that is killed, the next run does again."""


def ui_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for the address of the UI."""
    port = click.option(
        "--port",
        type=click.IntRange(1, _LARGEST_PORT),
        default=3000,
        show_default=True,
        help="Port of the UI.",
    )
    host = click.option("--host", default=_LOCAL, show_default=True, help="Address of the UI.")
    return port(host(command))


@click.command()
@ui_options
def command(port: int, host: str) -> None:
    """Start the Dagster UI, and ingest what is dropped into the inbox, until Ctrl-C.

    Example: lfp dev --port 3001
    """
    serve(port, host)


def serve(port: int, host: str) -> None:
    """Start the Dagster UI and daemon, and wait for their end; with a catalog, as the only head."""
    from lfp_pipeline.cli.check import problems_of_settings
    from lfp_pipeline.cli.dagster_home import dagster_home, needs_broker, prepared_home
    from lfp_pipeline.cli.membership import member, require_servers
    from lfp_pipeline.cli.output import BUSY, FAILED, say
    from lfp_pipeline.settings import load_settings

    if problems := problems_of_settings():
        say("\n".join(problems))
        raise SystemExit(FAILED)
    settings = load_settings()
    name = settings.ui_command
    if settings.catalog is not None:
        require_servers(settings, broker=needs_broker(dagster_home()))
    home = prepared_home()
    with ExitStack() as stack:
        lock, other = stack.enter_context(_only_one(home / "dev.lock"))
        if lock is None:
            say(f"Another `{name}` uses the Dagster home {home}. End it first: kill {other}")
            raise SystemExit(BUSY)
        if problem := _problem_of_port(host, port, name):
            say(problem)
            raise SystemExit(FAILED)
        lost = stack.enter_context(member(settings, "head")) if settings.catalog else Event()
        say("Starting the Dagster UI and daemon ...")
        options = ["--host", host, "--port", str(port)]
        ended_well = _run(options, _url(host, port), lock, lost)
    if lost.is_set():
        say("Other hosts had declared this head dead: it was suspended or cut off for too long.")
        raise SystemExit(BUSY)
    if not ended_well:
        say("Dagster has ended by itself: see above.")
        raise SystemExit(FAILED)


def _problem_of_port(host: str, port: int, command: str) -> str | None:
    """Return why no server can listen there, as text for people; None: one can."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
            server.listen()
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) != errno.EADDRINUSE:
            return f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}"
        other = port + 1 if port < _LARGEST_PORT else port - 1
        with_make = "MAKELEVEL" in os.environ
        another = f"make dev PORT={other}" if with_make else f"{command} --port {other}"
        return f"Port {port} is in use. Another one: {another}"
    return None


def _url(host: str, port: int) -> str:
    shown = {_LOCAL: "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


@contextmanager
def _only_one(path: Path) -> Iterator[tuple[TextIO | None, str]]:
    """Hold a lock for the block; yield its file, or None if another process has it, and its text.

    The text is the id of the process that ends, and frees the lock, by SIGTERM.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None, path.read_text()
        else:
            _write_id(file, os.getpid())
            yield file, ""


def _write_id(lock: TextIO, pid: int) -> None:
    lock.truncate(0)
    lock.write(str(pid))
    lock.flush()


def _run(options: list[str], url: str, lock: TextIO, lost: Event) -> bool:
    """Run `dagster dev` until it ends or this process is to end; return whether that was asked.

    Args:
        lost: once set, this process is to end.
    """
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
        if len(asked) == 1:
            if child:
                child.send_signal(signal.SIGINT)
            with suppress(OSError):
                os.write(_STDERR, b"Stopping ...\n")  # `say` may be interrupted.
        elif child and signum == signal.SIGINT:  # Closed terminals and programs repeat the others.
            _signal_group(child, signal.SIGKILL)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # By nohup.
            signal.signal(signum, end)
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "dagster", "dev", "--log-level", "warning", *options],
        cwd=root,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[lock.fileno()],
    )
    if asked:
        child.send_signal(signal.SIGINT)
    _write_id(lock, child.pid)
    Thread(target=_announce, args=(url, child), daemon=True).start()
    Thread(target=_interrupt_once, args=(lost,), daemon=True).start()
    child.wait()
    _end_group(child)
    return bool(asked)


def _interrupt_once(event: Event) -> None:
    event.wait()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Wait for what Dagster has left behind; then interrupt it, which ends runs; then kill it."""
    for signum in (0, signal.SIGINT, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE_SECONDS
        is_left = _signal_group(child, signum)
        while is_left and signum != signal.SIGKILL and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            is_left = _signal_group(child, 0)
        if not is_left:
            return


def _signal_group(child: subprocess.Popen[bytes], signum: int) -> bool:
    """Send a signal to the processes that Dagster has started; return whether there are any."""
    try:
        os.killpg(child.pid, signum)
    except (ProcessLookupError, PermissionError):  # macOS refuses it for processes that ended.
        return False
    return True


def _announce(url: str, child: subprocess.Popen[bytes]) -> None:
    """Print the address once the page answers."""
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    from lfp_pipeline.cli.output import say

    opener = build_opener(ProxyHandler({}))
    while child.poll() is None:
        with suppress(OSError, HTTPException), opener.open(f"{url}/server_info", timeout=5):
            say(f"The Dagster UI is at {url}. The messages of runs follow; Ctrl-C ends it.")
            return
        time.sleep(_POLL_SECONDS)
