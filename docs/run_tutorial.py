"""Run the commands of `docs/tutorial.md` in a copy of the project, and write their output there.

Run it as `python -m docs.run_tutorial` with the environment of the project active.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "tutorial.md"

_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ .*\n(?:> .*\n)*", re.MULTILINE)
_PROMPT = "$ "

_NOISE = re.compile(r"nanobind: |See https://nanobind| - (leaked|\.\.\.) ")
"""What DuckDB's Python module may print when its process ends."""


def main() -> None:
    """Replace the output of each command in the tutorial."""
    with tempfile.TemporaryDirectory(prefix="lfp-tutorial-") as folder:
        project = Path(folder) / "lfp_pipeline"
        _copy_project(project)
        page = _BLOCK.sub(lambda block: _run_all(block[0], project), PAGE.read_text())
    PAGE.write_text(page)


def _copy_project(target: Path) -> None:
    """Copy what is under version control, with the present environment as its installation."""
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=PROJECT, text=True)
    for name in filter(None, files.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, target / name)
        os.utime(target / name, (0, 0))  # Older than the installation, which make keeps then.
    (target / ".venv").symlink_to(sys.prefix)


def _run_all(block: str, project: Path) -> str:
    """Return a block with the present output of each of its commands."""
    output = ""
    for command in _COMMAND.findall(block):
        lines = [line[len(_PROMPT) :] for line in command.splitlines()]
        output += command + _run("\n".join(lines), project)
    return output


def _run(command: str, project: Path) -> str:
    environment = os.environ | {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "DAGSTER_HOME": str(project / ".dagster_home"),
        "PYTHONWARNINGS": "ignore::FutureWarning:click.core",
    }
    process = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=project,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = process.stdout.replace(str(project), "~/lfp_pipeline").expandtabs()
    lines = [line.rstrip() for line in output.splitlines() if not _NOISE.match(line)]
    return "\n".join(lines).rstrip() + "\n" if any(lines) else ""


if __name__ == "__main__":
    main()
