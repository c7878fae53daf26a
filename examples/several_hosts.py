"""Several hosts in small, on one machine: `make demo CLUSTER=1`.

Starts PostgreSQL, Redis, an S3 server, a head and two workers; drops files with overlapping skus
into a bucket; waits until they are merged; and then builds file mode from the same raw zone, and
compares all tables row for row. All of it is on loopback, in a temporary folder.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.processes import free_port
from testing import postgres, redis
from testing.postgres import PostgresServer
from testing.redis import RedisServer
from testing.s3_server import S3Server

_BUCKET = "shop"
_ROWS = 200
_SKUS = 2_000
_WORKERS = 2
_LONGEST_WAIT_SECONDS = 600.0
_STOP_SECONDS = 60.0


def main() -> int:
    """Run the demo; return 1 if the tables differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=40, help="number of files (default: 40)")
    parser.add_argument("--seed", type=int, default=7, help="of the files (default: 7)")
    given = parser.parse_args()
    if missing := postgres.missing() or redis.missing():
        sys.exit(f"The demo needs real servers: {missing}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    # The server's user cannot enter a private folder.
    with TemporaryDirectory(prefix="lfp-hosts-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with _servers(Path(folder)) as variables:
            return _demonstrate(Path(folder), variables, given.files, given.seed)


def _demonstrate(folder: Path, variables: Mapping[str, str], files: int, seed: int) -> int:
    this = _Host("this host", folder, variables)
    print("\n$ lfp cluster init", flush=True)
    this.lfp("cluster", "init")
    with ExitStack() as running:
        print("$ lfp cluster head &", flush=True)
        head = _Host("head", folder, variables)
        running.enter_context(head.running("cluster", "head", "--port", str(free_port())))
        for number in range(1, _WORKERS + 1):
            print("$ lfp worker &", flush=True)
            worker = _Host(f"worker-{number}", folder, variables)
            running.enter_context(worker.running("worker", "--name", f"worker-{number}"))
        _until_hosts_live(this)
        print(f"\nDropping {files} files into {variables['LFP_INBOX']} ...", flush=True)
        started = time.monotonic()
        _drop(variables, files, seed)
        _until_merged(this, files)
        print(f"All are merged, {time.monotonic() - started:.0f} s after the first drop.\n")
        print("$ lfp cluster status", flush=True)
        this.lfp("cluster", "status")
    sql = "FROM name_counts ORDER BY no_of_products DESC, name LIMIT 3"
    print(f'\n$ lfp query "{sql}"', flush=True)
    this.lfp("query", sql)
    print("\n$ lfp cluster export FOLDER: file mode, from the same raw zone", flush=True)
    return this.lfp("cluster", "export", str(folder / "file-mode"), check=False)


class _Host:
    """A host with the settings of all, and with a folder and a Dagster home of its own."""

    def __init__(self, name: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder / name.replace(" ", "-")
        self.folder.mkdir(exist_ok=True)
        own = {
            "LFP_DATA_DIR": str(self.folder / "data"),
            "DAGSTER_HOME": str(self.folder / "home"),
        }
        self._environ = {**os.environ, **variables, **own}

    def lfp(self, *arguments: str, check: bool = True) -> int:
        """Run a command, and return its exit code."""
        done = subprocess.run(self._command(arguments), env=self._environ, check=check)  # noqa: S603
        return done.returncode

    def query(self, *arguments: str) -> str:
        """Return what a command prints; empty after a failure."""
        done = subprocess.run(  # noqa: S603
            self._command(arguments), env=self._environ, capture_output=True, text=True, check=False
        )
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Let a command run during the block, with its output in a file."""
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                self._command(arguments), env=self._environ, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "lfp_pipeline", *arguments]


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    """Start the servers for the block, and yield the variables that name them."""
    print("Starting PostgreSQL, Redis and an S3 server on loopback ...", flush=True)
    database, broker, store = PostgresServer(folder / "postgres"), RedisServer(folder), S3Server()
    database.create()
    database.start()
    broker.start()
    try:
        yield {
            "LFP_CATALOG": database.url(),
            "LFP_BROKER": broker.url,
            **{f"LFP_{place.upper()}": f"s3://{_BUCKET}/{place}" for place in _PLACES},
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "LFP_THREADS": "1",
            "LFP_MEMORY_LIMIT": "500MB",
        }
    finally:
        store.close()
        broker.stop()
        database.stop()


_PLACES = ("lake", "raw", "inbox")


def _drop(variables: Mapping[str, str], files: int, seed: int) -> None:
    """Put files into the bucket; each has some skus of all others, and some twice."""
    from botocore.session import Session  # noqa: PLC0415 (only in the environment for hosts)

    client = Session().create_client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    draw = random.Random(seed)  # noqa: S311 (products of a demo)
    for number in range(files):
        rows = (
            f"name {draw.randrange(300)},sku-{draw.randrange(_SKUS)},version {number}"
            for _ in range(_ROWS)
        )
        body = "\n".join(["name,sku,description", *rows, ""])
        client.put_object(Bucket=_BUCKET, Key=f"inbox/shop-{number:03}.csv", Body=body.encode())


def _until_hosts_live(host: _Host) -> None:
    def live() -> bool:
        status = host.query("cluster", "status", "--json")
        return bool(status) and len(json.loads(status)["hosts"]) == _WORKERS + 1

    _until(live, "the head and the workers answer")


def _until_merged(host: _Host, files: int) -> None:
    query = "SELECT count(*) AS merged FROM deliveries WHERE status = 'merged'"

    def merged() -> bool:
        found = host.query("query", "--json", query)
        return bool(found) and json.loads(found)[0]["merged"] == files

    _until(merged, "all files are merged")


def _until(is_done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not is_done():
        if time.monotonic() > deadline:
            sys.exit(f"Waited for {_LONGEST_WAIT_SECONDS:.0f} s in vain until {what}.")
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
