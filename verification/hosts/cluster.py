"""Dagster on the hosts: the head and the workers, started by the commands of the README."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testing.expected_tables import File
from verification.hosts.bench import BUCKET, Bench, Lake
from verification.hosts.checks import ViolationError
from verification.hosts.network import Host

_UP_SECONDS = 180
_PORT = 3000

# A mark is renewed every ten seconds.
_IS_LIVE = """
SELECT count(*) FROM lfp.marks
WHERE kind = 'host' AND name = 'worker {name}' AND renewed_at > now() - interval '20 s'
"""
_UNFINISHED = "('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"
_OPEN_RUNS = f"SELECT count(*) FROM dagster.runs WHERE status IN {_UNFINISHED}"
_NOTED = "SELECT count(*) FROM lfp.sidecars WHERE suffix = 'outcome' AND content IS NOT NULL"
_RUNS_OF_HOST = """
SELECT name FROM lfp.marks WHERE kind = 'run' AND split_part(host, ',', 1) = '{host}'
"""
_STATUS_OF_RUNS = "SELECT status FROM dagster.runs WHERE run_id IN ({ids})"


@dataclass
class Cluster:
    """A head and workers of one lake.

    Attributes:
        bench: the hosts.
        lake: what they work on.
        settings: of all hosts, beside the places.
    """

    bench: Bench
    lake: Lake
    settings: dict[str, object] = field(default_factory=dict)
    _processes: list[subprocess.Popen[str]] = field(default_factory=list, init=False)

    def init(self) -> None:
        """Create the tables."""
        if self.start(self.bench.head, "cluster", "init").wait():
            msg = f"lfp cluster init failed: {self.log(self.bench.head)}"
            raise ViolationError(msg)

    def start_head(self) -> None:
        """Start the UI and the sensors."""
        host = self.bench.head
        self.start(host, "cluster", "head", "--host", host.address, "--port", str(_PORT))
        self.until(lambda: "The Dagster UI is at" in self.log(host), "The head is not up")

    def start_worker(self, host: Host) -> None:
        """Start a worker, and wait until others see it."""
        self.start(host, "worker", "--name", host.name)
        is_live = _IS_LIVE.format(name=host.name)
        self.until(lambda: self.count(is_live), f"The worker on {host.name} is not up")

    def start(self, host: Host, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of `lfp` on a host."""
        environment = self.bench.environment(host, self.lake, **self.settings)
        command = [sys.executable, "-m", "lfp_pipeline", *arguments]
        with self._log_path(host).open("a") as log:
            process = host.start(command, environment, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def log(self, host: Host) -> str:
        """Return what the commands on a host have printed."""
        path = self._log_path(host)
        return path.read_text(errors="replace") if path.exists() else ""

    def drop(self, files: Sequence[File]) -> None:
        """Put files into the inbox."""
        client, prefix = self.bench.s3(), self.lake.place("inbox").removeprefix(f"s3://{BUCKET}/")
        for file in files:
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{file.key}", Body=file.content)

    def count(self, sql: str) -> int:
        """Return the number that a query on the catalog's database gives."""
        ((number,),) = self.bench.postgres.execute(sql, self.lake.name)
        return int(str(number))

    @property
    def open_runs(self) -> int:
        """Number of Dagster's runs that have not ended."""
        return self.count(_OPEN_RUNS)

    def until_idle(self, deliveries: int, seconds: float) -> float:
        """Wait until so many deliveries have a status note and no run is open; return the seconds.

        Raises:
            ViolationError: this took too long.
        """
        what = f"{deliveries} deliveries are not merged"
        return self.until(
            lambda: self.count(_NOTED) >= deliveries and not self.open_runs, what, seconds
        )

    def runs_on(self, host: Host) -> list[str]:
        """Return the runs that a host executes."""
        sql = _RUNS_OF_HOST.format(host=host.name)
        return [str(name) for (name,) in self.bench.postgres.execute(sql, self.lake.name)]

    def statuses(self, runs: Sequence[str]) -> set[str]:
        """Return the statuses of runs."""
        sql = _STATUS_OF_RUNS.format(ids=", ".join(f"'{run}'" for run in runs))
        return {str(status) for (status,) in self.bench.postgres.execute(sql, self.lake.name)}

    def until(
        self, is_done: Callable[[], object], what: str, seconds: float = _UP_SECONDS
    ) -> float:
        """Wait until something holds; return the seconds; raise a ViolationError after too many."""
        started = time.monotonic()
        while not is_done():
            if time.monotonic() - started > seconds:
                logs = "\n".join(self.log(host)[-3000:] for host in self.bench.hosts.values())
                msg = f"{what} after {seconds:.0f} s:\n{logs}"
                raise ViolationError(msg)
            time.sleep(0.3)
        return time.monotonic() - started

    def end(self) -> None:
        """Kill all hosts of Dagster, and boot them again."""
        for host in (self.bench.head, *self.bench.workers):
            host.kill()
            host.boot()

    def _log_path(self, host: Host) -> Path:
        return self.bench.folder / "hosts" / f"{host.name}-{self.lake.name}.log"
