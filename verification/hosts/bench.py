"""The bench: hosts with servers and workers on one network, and the lakes that they work on."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from examples.processes import free_port
from testing import postgres
from verification.hosts.network import Host, Network, network
from verification.hosts.object_store import Faults
from verification.hosts.servers import PASSWORD, Postgres, Redis, Store

BUCKET = "lfp"
WORKERS = ("worker1", "worker2", "worker3")

# As `lfp cluster init` does, but for the tables of Dagster.
_INIT = """
import logging
from lfp_pipeline.operations import cluster_init
from lfp_pipeline.settings import load_settings
parts = [part for part in vars(cluster_init).values() if isinstance(part, cluster_init.Part)]
cluster_init.init_cluster(load_settings(), parts, logging.getLogger())
"""

_PORTS = {"postgres": 5432, "redis": 6379, "store": 9000}


@dataclass(frozen=True)
class Lake:
    """A catalog, with a lake, a raw zone and an inbox of its own.

    Attributes:
        name: of the database in PostgreSQL, and of the prefix in the bucket.
        url: of the catalog, without the password.
    """

    name: str
    url: str

    def place(self, part: str) -> str:
        """Return the prefix of a part: `lake`, `raw` or `inbox`."""
        return f"s3://{BUCKET}/{self.name}/{part}"


@dataclass
class Bench:
    """The hosts and their servers.

    Attributes:
        folder: what the hosts write to their own disks, and the logs.
        network: the hosts and their cables.
        head: the host with Dagster's servers.
        reader: a host that only reads.
        workers: the hosts that work.
    """

    folder: Path
    network: Network
    head: Host
    reader: Host
    workers: Sequence[Host]
    postgres: Postgres
    redis: Redis
    store: Store
    _lakes: int = field(default=0, init=False)

    @property
    def hosts(self) -> Mapping[str, Host]:
        """All hosts by name."""
        return self.network.hosts

    def new_database(self) -> Lake:
        """Return an empty database, with prefixes of the same name."""
        self._lakes += 1
        name = f"lake{self._lakes}"
        self.postgres.execute(f"CREATE DATABASE {name}")
        return Lake(name, self.postgres.url(name))

    def new_lake(self) -> Lake:
        """Return a lake whose tables exist, without those of Dagster."""
        lake = self.new_database()
        command = [sys.executable, "-c", _INIT]
        assert self.head.start(command, self.environment(self.head, lake)).wait() == 0
        return lake

    def environment(self, host: Host, lake: Lake, **settings: object) -> dict[str, str]:
        """Return what the processes of a host need to work on a lake, and further settings."""
        given = {f"LFP_{name.upper()}": str(value) for name, value in settings.items()}
        data = self.folder / "hosts" / host.name / lake.name
        data.mkdir(parents=True, exist_ok=True)
        return {
            "LFP_DATA_DIR": str(data),
            "LFP_SETTINGS_FILE": str(self.folder / "empty.toml"),
            "LFP_SOURCES_FILE": str(self.folder / "sources.yaml"),
            "LFP_CATALOG": lake.url,
            "LFP_LAKE": lake.place("lake"),
            "LFP_RAW": lake.place("raw"),
            "LFP_INBOX": lake.place("inbox"),
            "LFP_MAX_REJECT_SHARE": "1",
            "LFP_BROKER": self.redis.url,
            "LFP_THREADS": "2",
            "LFP_MEMORY_LIMIT": "600MB",
            "DAGSTER_HOME": str(data / "home"),
            "PGPASSWORD": PASSWORD,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.store.url,
            **given,
        }

    def start(
        self,
        host: Host,
        module: str,
        *arguments: object,
        environment: Mapping[str, str],
        **others: Any,  # noqa: ANN401
    ) -> subprocess.Popen[str]:
        """Start a module of ours on a host."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return host.start(command, environment, **others)

    def s3(self, attempts: int = 5) -> Any:  # noqa: ANN401 (boto3 makes its classes when used)
        """Return a client of the object store that tries each request so often."""
        return boto3.client(
            "s3",
            endpoint_url=self.store.url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key=PASSWORD,
            config=Config(retries={"total_max_attempts": attempts}),
        )

    def restore(self) -> None:
        """Undo the faults of the store and the cables."""
        self.store.set_faults(Faults())
        if self.network.has_cables:
            for host in self.hosts.values():
                self.network.restore(host)


def missing_programs() -> str | None:
    """Return what is missing for the bench; None: nothing."""
    for program, package in (("redis-server", "redis-server"), ("cc", "gcc")):
        if shutil.which(program) is None:
            return f"the program {program} is not installed (Debian's package {package})"
    for module in ("duckdb_extension_ducklake", "duckdb_extension_httpfs", "moto"):
        if find_spec(module) is None:
            return f"the package {module} is not installed"
    return postgres.missing()


@contextmanager
def bench(folder: Path, *, has_cables: bool, workers: int = 3) -> Iterator[Bench]:
    """Start all servers, and end everything after the block.

    Args:
        folder: an empty folder, which the user of PostgreSQL can enter.
        has_cables: whether this process runs in a network namespace for the bench alone.
    """
    (folder / "empty.toml").touch()
    (folder / "sources.yaml").write_text("sources: []\n")
    with network(folder, has_cables=has_cables) as hosts:

        def port(name: str) -> int:
            return _PORTS[name] if has_cables else free_port()

        def own(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        database, store_host = hosts.add("database"), hosts.add("store")
        servers = (
            Postgres(database, port("postgres"), own("postgres")),
            Redis(database, port("redis"), own("redis")),
            Store(store_host, port("store"), own("store")),
        )
        servers[0].create()
        servers[1].start()
        servers[2].start()
        made = Bench(
            folder,
            hosts,
            hosts.add("head"),
            hosts.add("reader"),
            [hosts.add(name) for name in WORKERS[:workers]],
            *servers,
        )
        made.s3().create_bucket(Bucket=BUCKET)
        yield made
