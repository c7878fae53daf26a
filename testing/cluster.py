"""A project of several hosts, all on this one: real servers, a head, and workers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from examples.processes import free_port
from lfp_pipeline.cli.dagster_home import prepare
from lfp_pipeline.engine import Engine
from lfp_pipeline.operations.read_tables import open_tables
from lfp_pipeline.settings import Settings, load_settings
from testing.processes import PROJECT, until
from testing.redis import RedisServer


@dataclass
class Host:
    """A command that runs in a process group of its own, with a log."""

    process: subprocess.Popen[bytes]
    log: Path

    def send(self, signum: int) -> None:
        """Send a signal to the command, which passes it on."""
        self.process.send_signal(signum)

    def send_all(self, signum: int) -> None:
        """Send a signal to all processes of the host, as the loss of its machine would."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def processes(self) -> list[int]:
        """Return the command and its descendants; those of a dead one have no parent."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                pid, rest = stat.read_text().split(" ", 1)
                children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(int(pid))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def output(self) -> str:
        """Return what the processes have printed."""
        return self.log.read_text()


@dataclass
class Cluster:
    """The hosts of a project."""

    folder: Path
    environment: dict[str, str]
    redis: RedisServer
    hosts: list[Host] = field(default_factory=list)

    @property
    def inbox(self) -> Path:
        return self.folder / "data" / "inbox"

    def lfp(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "lfp_pipeline", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self, *arguments: str) -> Host:
        """Start a command that runs until it is ended."""
        log = self.folder / f"{len(self.hosts)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "lfp_pipeline", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.hosts.append(Host(process, log))
        return self.hosts[-1]

    def start_head(self) -> Host:
        """Start a head, and wait until its sensors run."""
        head = self.start("cluster", "head", "--port", str(free_port()))
        until(lambda: "The Dagster UI is at" in head.output(), 120)
        return head

    def start_worker(self, name: str, slots: int = 1) -> Host:
        """Start a worker, and wait until it can execute runs."""
        worker = self.start("worker", "--name", name, "--concurrency", str(slots))
        until(lambda: f"worker {name}" in self.names_of_hosts(), 60)
        return worker

    def status(self) -> Any:  # noqa: ANN401
        return json.loads(self.lfp("cluster", "status", "--json").stdout)

    def names_of_hosts(self) -> list[str]:
        return [host["name"] for host in self.status()["hosts"] if host["is_live"]]

    def drop(self, name: str, *rows: str) -> None:
        """Drop a file into the inbox, complete."""
        file = self.folder / name
        file.write_text("\n".join(["sku,name,description", *rows, ""]))
        file.rename(self.inbox / name)

    def query(self, sql: str) -> Any:  # noqa: ANN401
        with self.settings() as settings, open_tables(Engine(settings, read_only=True)) as tables:
            return tables.rows(sql)

    @contextmanager
    def settings(self) -> Iterator[Settings]:
        """Have this process work in the folder, with the environment of the hosts."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.delenv("LFP_SETTINGS_FILE", raising=False)
            patch.chdir(self.folder)
            yield load_settings()

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Open the Dagster instance of the hosts."""
        with self.settings():
            home = Path(self.environment.get("DAGSTER_HOME", self.folder / ".dagster_home"))
            prepare(home, even_if_current=False)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                yield instance

    def runs(self) -> list[dg.DagsterRun]:
        """Return the runs, the oldest first."""
        with self.instance() as instance:
            return list(reversed(list(instance.get_runs())))

    def end(self) -> None:
        """Kill all hosts."""
        for host in self.hosts:
            host.send_all(signal.SIGKILL)
            host.process.wait()


@pytest.fixture
def cluster(tmp_path: Path, catalog_url: SecretStr, redis_server: RedisServer) -> Iterator[Cluster]:
    """Return a project whose tables exist, with two passwords that nothing may show."""
    pytest.importorskip("dagster_celery")
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    (tmp_path / "lfp.toml").touch()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"LFP_SETTINGS_FILE", "DAGSTER_HOME"}
    } | {
        "LFP_CATALOG": catalog_url.get_secret_value().replace("lfp@", "lfp:s3cret-catalog@"),
        "LFP_BROKER": redis_server.url,
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
    }
    cluster = Cluster(tmp_path, environment, redis_server)
    with ExitStack() as stack:
        stack.callback(cluster.end)
        done = cluster.lfp("cluster", "init")
        assert done.returncode == 0, done.stderr
        yield cluster
