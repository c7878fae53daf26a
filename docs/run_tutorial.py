"""Run the commands of `docs/tutorial.md` in a copy of the project, and write their output there.

Run it as `python -m docs.run_tutorial` with the environment of the project active.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from docs.console import run_command, run_page, write_lfp

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "tutorial.md"


def main() -> None:
    """Replace the output of each command in the tutorial."""
    with tempfile.TemporaryDirectory(prefix="lfp-tutorial-") as folder:
        project = Path(folder) / "lfp_pipeline"
        _copy_project(project)
        environment = os.environ | {
            "COLUMNS": "100",
            "PATH": f"{project}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(project),
            "DAGSTER_HOME": str(project / ".dagster_home"),
            "PYTHONWARNINGS": "ignore::FutureWarning:click.core",
        }
        run = partial(run_command, folder=project, environment=environment)
        page = run_page(PAGE.read_text(), run)
    PAGE.write_text(page)


def _copy_project(target: Path) -> None:
    """Copy what is under version control, with the present environment as its installation."""
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=PROJECT, text=True)
    for name in filter(None, files.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, target / name)
        os.utime(target / name, (0, 0))  # Older than the installation, which make keeps then.
    _copy_installation(target / ".venv")


def _copy_installation(venv: Path) -> None:
    """Make a virtual environment of links to the present one, with the command of the copy."""
    (venv / "bin").mkdir(parents=True)
    present = Path(sys.prefix)
    for path in [*present.iterdir(), *(present / "bin").iterdir()]:
        if path.name not in {"bin", "lfp"}:
            (venv / path.relative_to(present)).symlink_to(path)
    write_lfp(venv / "bin")
    for stamp in ("installed", "installed-dev"):
        (venv / stamp).unlink(missing_ok=True)
        (venv / stamp).touch()


if __name__ == "__main__":
    main()
