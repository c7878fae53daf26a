"""A shell in an empty folder, in which tests start the public commands as processes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfp_pipeline.common.project_folder import TEMPLATES
from testing.dagster_project import PARTITION_TAG, drop
from testing.expected_tables import File


@dataclass(frozen=True)
class Shell:
    """A shell in an empty folder, with a data folder and a Dagster instance elsewhere."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def data(self) -> Path:
        return Path(self.environment["LFP_DATA_DIR"])

    def drop(self, *files: File) -> None:
        for file in files:
            drop(self.data / "inbox", file.key, file.content, file.microseconds)

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        """Start a command; both of its outputs are in its standard output."""
        changed = {f"LFP_{name.upper()}": str(value) for name, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={**self.environment, **changed},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, **settings: object) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        return finish(self.start(*arguments, **settings))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a command; return its exit code and its output."""
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def job(name: str, partition: str | None = None) -> list[str]:
    """Return the command that executes a job."""
    tags = ["--tags", json.dumps({PARTITION_TAG: partition})] if partition else []
    return ["dagster", "job", "execute", "-m", "lfp_pipeline.definitions", "-j", name, *tags]


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Shell:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    shutil.copytree(home, tmp_path / "home")
    shutil.copy(TEMPLATES / "dagster.yaml", tmp_path / "home")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LFP_") or name == "LFP_SETTINGS_FILE"
    }
    own = {
        "LFP_DATA_DIR": str(tmp_path / "data"),
        "LFP_INBOX_STABLE_SECONDS": "0",
        "LFP_THREADS": "2",
        "LFP_ALLOWED_HOSTS": "127.0.0.1",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    return Shell(tmp_path / "empty", inherited | own)
