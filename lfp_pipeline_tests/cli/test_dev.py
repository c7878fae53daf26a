"""`lfp dev` starts Dagster once, says when the page answers, and ends all that it has started."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from examples.processes import free_port
from testing.dagster_project import NO_SKU, drop
from testing.expected_tables import File
from testing.processes import PROJECT, until
from testing.shell import Shell

pytestmark = pytest.mark.slow  # Each starts processes.

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"),))


class Dev:
    """A running `lfp dev`, whose output goes to a file."""

    def __init__(self, shell: Shell, port: int, *wrapper: str) -> None:
        self.url = f"http://localhost:{port}"
        self.log = shell.folder.parent / f"{port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "lfp_pipeline", "dev", "--port", str(port)],
                cwd=shell.folder,
                env={**shell.environment, "PYTHONPATH": str(PROJECT)},
                stdout=log,
                stderr=log,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.output
        return f"The Dagster UI is at {self.url}." in self.output

    def descendants(self) -> set[int]:
        """Return the processes of the group that `lfp dev` has started."""
        groups: dict[int, set[int]] = {}
        children: set[int] = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, parent, group = stat.read_text().rpartition(") ")[2].split()[:3]
            except OSError:
                continue  # It has just ended.
            groups.setdefault(int(group), set()).add(int(stat.parent.name))
            if int(parent) == self.process.pid:
                children.add(int(stat.parent.name))
        return set().union(*(groups.get(child, set()) for child in children))


@contextmanager
def running_dev(shell: Shell) -> Iterator[Dev]:
    dev = Dev(shell, free_port())
    try:
        yield dev
    finally:
        dev.process.send_signal(signal.SIGTERM)
        dev.process.wait(timeout=120)


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_it_says_where_the_page_is_and_ends_all_its_processes(shell: Shell, signum: int) -> None:
    no_proxy_there = {"http_proxy": "http://127.0.0.1:9"}
    with running_dev(Shell(shell.folder, {**shell.environment, **no_proxy_there})) as dev:
        until(dev.is_ready, seconds=120)
        assert httpx.get(dev.url).status_code == 200
        assert_launchpad_is_prefilled(dev.url)
        drop(shell.data / "inbox", A.key, A.content, A.microseconds)
        drop(shell.data / "inbox", "bad.csv", NO_SKU)
        until((shell.data / "published" / "products.duckdb").exists, seconds=120)
        until(lambda: "not merged" in dev.output, seconds=60)
        started = dev.descendants()
        assert len(started) >= 4  # Dagster, its code server, web server and daemon.

        assert refused(shell) in started

        dev.process.send_signal(signum)
        assert dev.process.wait(timeout=100) == 0
        until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], seconds=10)
        words = dev.output.lower()
        noise = "error", "superseded", "traceback", "leaked", "has exited", " - dagster - "
        assert not [word for word in noise if word in words], words
        (warning,) = [line for line in dev.output.splitlines() if "WARNING" in line]
        assert "bad.csv was refused: The header has no column sku" in warning
        assert "Name the columns" in warning
        address, stopping = f"The Dagster UI is at {dev.url}.", "Stopping ..."
        lines = dev.output.splitlines()
        assert lines[0].startswith(("Dagster home: ", "Starting "))
        assert stopping in lines  # Runs may end after it.
        before = lines[: next(n for n, line in enumerate(lines) if line.startswith(address))]
        assert not [line for line in before if not line.startswith(("Dagster home: ", "Starting "))]


LAUNCHPAD = """
query {
  runConfigSchemaOrError(selector: {
    repositoryLocationName: "lfp_pipeline", repositoryName: "__repository__",
    pipelineName: "purge_products"
  }) { ... on RunConfigSchema { rootDefaultYaml } }
}
"""


def assert_launchpad_is_prefilled(url: str) -> None:
    """Ask the web server for the text of the launchpad, as its page does."""
    answer = httpx.post(f"{url}/graphql", json={"query": LAUNCHPAD}).json()
    text = answer["data"]["runConfigSchemaOrError"]["rootDefaultYaml"]
    config = yaml.safe_load(text)["ops"]["purge"]["config"]
    assert config == {"dry_run": True, "everything": False, "partition": "", "skus": []}


def refused(shell: Shell) -> int:
    """Run another `lfp dev`, which is refused; return the process that its message names."""
    code, output = shell.run("lfp_pipeline", "dev")
    home = re.escape(shell.environment["DAGSTER_HOME"])
    found = re.fullmatch(
        rf"Another `lfp dev` uses the Dagster home {home}. End it first: kill (\d+)\n", output
    )
    assert (code, bool(found)) == (5, True), output
    assert found
    return int(found[1])


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGQUIT])
def test_with_its_terminal_its_dagster_ends(shell: Shell, signum: int) -> None:
    dev = Dev(shell, free_port())
    until(dev.descendants, seconds=60)
    started = dev.descendants()
    dev.process.send_signal(signum)
    dev.process.send_signal(signum)  # As the kernel and the shell do.
    assert dev.process.wait(timeout=100) == 0, dev.output
    until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], seconds=10)


def test_nohup_keeps_it_running(shell: Shell) -> None:
    dev = Dev(shell, free_port(), "nohup")
    until(dev.descendants, seconds=60)
    dev.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        dev.process.wait(timeout=2)
    dev.process.send_signal(signal.SIGTERM)
    assert dev.process.wait(timeout=100) == 0, dev.output


def test_without_stderr_it_ends_all_its_processes(shell: Shell) -> None:
    dev = Dev(shell, free_port(), "sh", "-c", 'exec "$@" 2>&-', "sh")
    until(lambda: len(dev.descendants()) > 2, seconds=60)
    started = dev.descendants()
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(timeout=100) == 0, dev.output
    until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], seconds=10)


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["--port", "0"], 2, "0 is not in the range 1<=x<=65535"),
        (["--port", "65536"], 2, "65536 is not in the range 1<=x<=65535"),
        (["--host", "192.0.2.1"], 1, "--host 192.0.2.1 --port 3000: Cannot assign requested"),
        (["--host", "nowhere.invalid"], 1, "--host nowhere.invalid --port 3000: "),
        (["--host", "a..b"], 1, "--host a..b --port 3000: "),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(
    shell: Shell, options: list[str], code: int, problem: str
) -> None:
    found, output = shell.run("lfp_pipeline", "dev", *options)
    assert (found, problem in output) == (code, True), output
    assert "in use" not in output


def test_a_taken_port_is_refused_before_anything_starts(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["lfp_pipeline", "dev", "--port", str(port)]
        bare = {name: text for name, text in shell.environment.items() if name != "MAKELEVEL"}
        code, output = Shell(shell.folder, bare).run(*command)
        assert (code, output) == (
            1,
            f"Port {port} is in use. Another one: lfp dev --port {port + 1}\n",
        )
        with_make = Shell(shell.folder, {**shell.environment, "MAKELEVEL": "1"})
        assert f"Another one: make dev PORT={port + 1}" in with_make.run(*command)[1]


def test_wrong_settings_are_refused_before_anything_starts(shell: Shell) -> None:
    code, output = shell.run("lfp_pipeline", "dev", threads=0)
    assert code == 1
    assert "LFP_THREADS = '0': Input should be greater than or equal to 1" in output
    assert not list(Path(shell.environment["DAGSTER_HOME"]).glob("dev.lock"))


def test_if_it_is_killed_its_dagster_keeps_the_home_locked(shell: Shell) -> None:
    dev = Dev(shell, free_port())
    until(dev.descendants, seconds=60)
    groups = {os.getpgid(pid) for pid in dev.descendants()}
    dev.process.kill()
    dev.process.wait()
    try:
        os.kill(refused(shell), signal.SIGTERM)
        until(lambda: is_free(Path(shell.environment["DAGSTER_HOME"]) / "dev.lock"), seconds=60)
    finally:
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
