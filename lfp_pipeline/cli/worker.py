"""`lfp worker`: executes runs that the head requests, on this host."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import click

from lfp_pipeline.cli.output import BUSY, FAILED, examples, say
from lfp_pipeline.cli.param_types import Text

_POLL_SECONDS = 0.2

_LIVED_SECONDS = 10.0
"""A process of Celery that ends earlier, and is the first one, cannot work at all."""

_RESTART_SECONDS = 20.0
"""Least time between two starts of Celery."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_STDERR = 2


@click.command(epilog=examples("lfp worker", "lfp worker --concurrency 4 --name $(hostname)-b"))
@click.option(
    "--concurrency",
    "slots",
    type=click.IntRange(1, 1_000),
    help="Runs at once. Default: the setting LFP_WORKER_RUNS.",
)
@click.option("--name", type=Text(), help="Name among the workers. Default: the name of this host.")
def command(slots: int | None, name: str | None) -> None:
    """Execute runs on this host, for the head of the hosts that work together.

    Ctrl-C or SIGTERM: the runs in progress are finished, and none begins. The second time: they are
    dropped, and executed elsewhere after a minute.
    """
    from lfp_pipeline.cli.dagster_home import prepared_home
    from lfp_pipeline.cli.membership import member, require_servers
    from lfp_pipeline.settings import load_settings

    settings = load_settings()
    require_servers(settings)
    prepared_home()
    name, slots = name or socket.gethostname(), slots or settings.worker_runs
    with _Worker(name, slots) as worker:
        with member(settings, "worker", name, slots) as lost:
            worker.start()
            say(f"The worker {name} executes up to {slots} runs at once; Ctrl-C ends it.")
            while not (worker.is_asked or worker.has_failed or lost.is_set()):
                worker.keep_running()
                time.sleep(_POLL_SECONDS)
        # Without the mark, the head counts no slots of this worker any more.
        has_failed = worker.has_failed and not worker.is_asked
        worker.finish()
    if has_failed:
        say("The worker has ended by itself: see above.")
        raise SystemExit(FAILED)
    if not worker.is_asked:
        say("Other hosts had declared this worker dead: it was suspended or cut off for too long.")
        raise SystemExit(BUSY)


class _Worker:
    """The process of Celery, in a group of its own, to which signals are passed on."""

    def __init__(self, name: str, slots: int) -> None:
        self._name = name
        self._slots = slots
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._has_lived = False
        self._signals = 0

    def __enter__(self) -> "_Worker":
        for signum in _SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # By nohup.
                signal.signal(signum, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and not self.has_ended:
            self._signal_group(signal.SIGKILL)

    @property
    def is_asked(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._signals > 0

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    @property
    def has_failed(self) -> bool:
        """Whether the process has ended before it could have executed a run."""
        return self.has_ended and not self._has_lived

    def keep_running(self) -> None:
        """Start the process again if it has ended by itself, as it may when Redis crashes."""
        if not self.has_ended:
            self._has_lived |= time.monotonic() - self._started > _LIVED_SECONDS
            return
        if time.monotonic() - self._started > _RESTART_SECONDS:
            say("Celery has ended by itself: see above. It is started again.")
            self.start()

    def start(self) -> None:
        """Start the process."""
        from lfp_pipeline.common.project_folder import project_root
        from lfp_pipeline.hosts.liveness import WORKER_VARIABLE

        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 (ours)
            [
                *(sys.executable, "-m", "celery", "--quiet"),
                *("--app", "lfp_pipeline.dagster_support.celery_app"),
                *("worker", "--hostname", f"lfp@{self._name}", "--concurrency", str(self._slots)),
                *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
            ],
            cwd=project_root(),
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                "_LFP_WORKER": str(os.getpid()),
                WORKER_VARIABLE: self._name,
            },
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def finish(self) -> None:
        """Wait until the runs in progress have ended."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def _end(self, signum: int, _frame: object) -> None:
        self._signals += 1
        if self._process is None:
            raise SystemExit(0)
        if self._signals == 1:
            _write("Finishing the runs in progress; the next Ctrl-C or SIGTERM drops them ...")
        elif signum in {signal.SIGINT, signal.SIGTERM}:
            _write("Dropping the runs in progress.")
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, signum: int) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)


def _write(text: str) -> None:
    """Write a message from a signal handler: `say` may be interrupted."""
    with suppress(OSError):
        os.write(_STDERR, f"{text}\n".encode())
