"""The worker processes, as the bench sees them."""

import json
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from verification.hosts.bench import Bench, Lake
from verification.hosts.network import Host
from verification.hosts.worker import ENDED, READY, RETRIES, Ended, Job

HANG_SECONDS = 180
_LOG_CHARACTERS = 4_000


class HangingError(Exception):
    """A process says nothing for too long."""


class LostError(Exception):
    """A process has ended in the middle of a job."""


class Worker:
    """A process that does jobs on a host, one after the other.

    Attributes:
        host: where it runs.
        log: what the process logs.
    """

    def __init__(
        self, bench: Bench, host: Host, lake: Lake, *, retries: int = 0, **settings: object
    ) -> None:
        environment = bench.environment(host, lake, **settings)
        if retries:
            environment = {**environment, RETRIES: str(retries)}
        self.host = host
        self.log = Path(environment["LFP_DATA_DIR"]) / "worker.log"
        with self.log.open("a") as log:
            self._process = bench.start(
                host,
                "verification.hosts.worker",
                environment=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._ended: Mapping[str, Any] | None = None
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._next()["event"] == READY

    def give(self, job: Job) -> None:
        """Give the process a job, and do not wait."""
        self._write(json.dumps(asdict(job)))

    def stops(self) -> bool:
        """Wait until the process waits at its step, or ends its job; return which."""
        message = self._next()
        self._ended = message if message["event"] == ENDED else None
        return self._ended is None

    def go_on(self) -> None:
        """Let a process that waits at its step go on."""
        self._write("")

    def ended(self, seconds: float = HANG_SECONDS) -> Ended:
        """Wait for the end of the job.

        Raises:
            HangingError: it did not end in time.
            LostError: the process ended first.
        """
        message = self._ended or self._next(seconds)
        self._ended = None
        assert message["event"] == ENDED, message
        return Ended(**{name: message[name] for name in Ended.__annotations__})

    def do(self, job: Job, seconds: float = HANG_SECONDS) -> Ended:
        """Have a job done."""
        self.give(job)
        return self.ended(seconds)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self.host.signal(self._process, number)

    def kill(self) -> None:
        """Kill the process, and wait for its end."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    @property
    def end_of_log(self) -> str:
        """The last lines of its log."""
        return self.log.read_text(errors="replace")[-_LOG_CHARACTERS:]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # It was killed; its caller sees that.
            pass

    def _next(self, seconds: float = HANG_SECONDS) -> Mapping[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            msg = f"A process of {self.host.name} hangs for {seconds:.0f} s:\n{self.end_of_log}"
            raise HangingError(msg) from None
        if not line:
            msg = f"A process of {self.host.name} has ended:\n{self.end_of_log}"
            raise LostError(msg)
        return dict(json.loads(line))
