"""The bench itself, and a short round of each kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing.processes import PROJECT
from verification.hosts.bench import missing_programs
from verification.hosts.network import missing_permission

TESTS = Path(__file__).with_name("in_namespace.py")


@pytest.fixture(autouse=True)
def _programs() -> None:
    if missing := missing_programs():
        pytest.skip(missing)


@pytest.fixture
def namespaces() -> None:
    if missing := missing_permission():
        pytest.skip(f"Namespaces are not permitted here: {missing}")


def test(*command: str, **environment: str) -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, *pytest_, str(TESTS)],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_hosts_in_namespaces():
    test("unshare", "--net", "--")
