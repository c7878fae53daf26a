"""The built wheel works in an empty folder, with no clone beside it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from testing.dagster_project import PRODUCTS, drop, query
from testing.expected_tables import File, expected_products
from testing.processes import PROJECT

pytestmark = pytest.mark.slow  # Each starts processes.

A = File("a.csv", 1_000_000, (("s1", "Ann", "x"), ("s2", "Bob", "y")))

BUILD = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, from a copy: setuptools writes into the folder that it builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("lfp_pipeline", "lfp_pipeline_tests/common"):
        shutil.copytree(PROJECT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, target],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (file,) = target.iterdir()
    return file


def test_it_brings_what_users_of_the_tables_need(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        required = re.findall(
            r"(?m)^Requires-Dist: ([\w-]+)[^;\n]*$", archive.read(metadata).decode()
        )
    assert {"dagster", "dagster-webserver", "dagster-duckdb", "duckdb", "pandas"} <= {*required}


def test_it_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "lfp = lfp_pipeline.cli.main:main" in archive.read(metadata).decode()
    package = PROJECT / "lfp_pipeline"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert found == {path.relative_to(PROJECT).as_posix() for path in files}


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Mapping[str, str]:
    """Return an environment whose Python imports the package from the wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site packages")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LFP_") and name != "DAGSTER_HOME"
    }
    return kept | {"PYTHONPATH": str(tmp_path / "site packages"), "LFP_INBOX_STABLE_SECONDS": "0"}


def run(environment: Mapping[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a module in a folder; return its exit code, and both of its outputs."""
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout


def test_it_makes_a_project_and_ingests(installed: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "an empty folder"
    folder.mkdir()
    code, output = run(installed, folder, "lfp_pipeline", "check")
    assert (code, output) == (
        1,
        f"{folder} is in no project (no lfp.toml). `lfp init` makes it one.\n",
    )
    assert list(folder.iterdir()) == []

    code, output = run(installed, folder, "lfp_pipeline", "init")
    assert code == 0, output
    drop(folder / "data" / "inbox", A.key, A.content, A.microseconds)
    (folder / "below").mkdir()  # The project is found from there.
    code, output = run(installed, folder / "below", "lfp_pipeline", "ingest")
    assert code == 0, output
    assert f"Dagster home: {folder / '.dagster_home'} (DAGSTER_HOME is not set)" in output
    assert query(folder / "data", PRODUCTS) == expected_products([A])
    assert list((folder / "below").iterdir()) == []
