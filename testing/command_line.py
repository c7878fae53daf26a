"""The command `lfp` in the process of a test, on a data folder and a Dagster home of its own."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lfp_pipeline.cli.dagster_home import prepare
from lfp_pipeline.cli.main import main
from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.engine import Engine
from lfp_pipeline.settings import load_settings
from testing.dagster_project import drop
from testing.expected_tables import File


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """Runs `lfp` with the environment of the test."""

    folder: Path
    environment: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def engine(self) -> Engine:
        return Engine(load_settings())

    def drop(self, *files: File) -> None:
        for file in files:
            drop(self.data / "inbox", file.key, file.content, file.microseconds)

    def set(self, **settings: object) -> None:
        for name, value in settings.items():
            self.environment.setenv(f"LFP_{name.upper()}", str(value))

    def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        """Run a command that must end; return its exit code and what it printed."""
        self.captured.readouterr()
        self.environment.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = self.captured.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    def done(self, *arguments: str, stdin: str = "") -> Ended:
        """Run a command that must succeed."""
        ended = self(*arguments, stdin=stdin)
        assert ended.code == 0, ended.err
        return ended

    def runs(self) -> list[dg.DagsterRun]:
        """Return the runs of the instance, the newest first."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return list(instance.get_runs())


WITHOUT_PRIVILEGES = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
)
"""Makes a process of root one that permissions hold for."""

needs_permissions = pytest.mark.skipif(
    bool(WITHOUT_PRIVILEGES) and not shutil.which("setpriv"), reason="root may read everything"
)


def start(*arguments: str, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a command as a process with the environment of the test."""
    return subprocess.Popen(
        [*wrapper, sys.executable, "-m", "lfp_pipeline", *arguments],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def lfp(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> CommandLine:
    """Return the command line for an empty data folder and a copy of a Dagster home."""
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    shutil.copytree(home, tmp_path / "home")
    shutil.copy(TEMPLATES / "dagster.yaml", tmp_path / "home")
    prepare(tmp_path / "home")
    line = CommandLine(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("DAGSTER_HOME", str(line.home))
    line.set(data_dir=line.data, inbox_stable_seconds=0, threads=2, other_process_wait_seconds=0)
    monkeypatch.chdir(tmp_path)
    return line
