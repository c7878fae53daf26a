"""The bench itself, and a short round of each kind."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from testing.processes import PROJECT, run_module, until
from verification.hosts.bench import missing_programs
from verification.hosts.network import missing_permission

TESTS = Path(__file__).with_name("in_namespace.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _programs() -> None:
    if missing := missing_programs():
        pytest.skip(missing)


@pytest.fixture
def _namespaces() -> None:
    if missing := missing_permission():
        pytest.skip(f"Namespaces are not permitted here: {missing}")


def assert_pass(*command: str, **environment: str) -> None:
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(TESTS)]
    ended = subprocess.run(
        [*command, sys.executable, "-m", "pytest", *options],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.usefixtures("_namespaces")
def test_hosts_have_names_processes_clocks_and_cables_of_their_own():
    assert_pass("unshare", "--net", "--")


def test_hosts_on_loopback_can_be_killed_and_have_clocks_of_their_own():
    assert_pass(BENCH_ON_LOOPBACK="1")


KILLED_BENCH = """
import os, signal, sys
from pathlib import Path
from verification.hosts.bench import bench
with bench(Path(sys.argv[1]), has_cables=True):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("_namespaces")
def test_a_killed_bench_leaves_no_processes():
    with TemporaryDirectory(prefix="lfp-hosts-") as folder:
        Path(folder).chmod(0o755)
        command = ["unshare", "--net", "--", sys.executable, "-c", KILLED_BENCH, folder]
        ended = subprocess.run(command, cwd=PROJECT, check=False)
        assert ended.returncode == -signal.SIGKILL
        until(lambda: not processes_that_name(folder))


def processes_that_name(folder: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if folder.encode() in process.read_bytes():
                found.append(process.parent.name)
    return found


@pytest.mark.parametrize("what", ["zombie", "together", "faults", "readers"])
def test_a_short_round_finds_no_violation(what: str):
    options = ["--what", what, "--seed", 1, "--times", 4, "--minutes", 0.2]
    ended = run_module("verification.hosts", *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"## {what}" in ended.stdout


def test_without_the_fence_a_zombie_doubles_rows_and_the_bench_detects_it():
    options = ["--what", "zombie", "--seed", 1, "--times", 8, "--without-fence"]
    ended = run_module("verification.hosts", *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "products: 200 too much" in ended.stdout
