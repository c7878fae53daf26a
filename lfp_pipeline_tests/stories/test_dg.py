"""The commands of `dg` work in the clone: check, list and launch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.dagster_project import PRODUCTS, query
from testing.expected_tables import File, expected_products
from testing.processes import PROJECT
from testing.shell import Shell

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))


def dg(shell: Shell, *arguments: str) -> str:
    """Run a command of `dg`; return its output."""
    program = shutil.which("dg", path=str(Path(sys.prefix) / "bin"))
    if program is None:
        pytest.skip("dg is not installed: `make test` installs it")
    process = subprocess.run(
        [program, *arguments],
        cwd=PROJECT,
        env=shell.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_definitions_are_valid(shell: Shell) -> None:
    assert "All definitions loaded successfully." in dg(shell, "check", "defs")


def test_definitions_are_listed(shell: Shell) -> None:
    listed = json.loads(dg(shell, "list", "defs", "--json"))
    assets = {item["asset_key"] for item in listed["assets"]}
    assert {"raw_products", "products", "name_counts"} <= assets
    assert "ingest_inbox" in {item["name"] for item in listed["jobs"]}


def test_a_job_is_launched(shell: Shell) -> None:
    shell.drop(A)
    dg(shell, "launch", "--job", "ingest_inbox")
    assert query(shell.data, PRODUCTS) == expected_products([A])
