"""Run the commands of `docs/cli.md` in a new project, and write their output there.

Run it as `python -m docs.run_cli` with the environment of the project active.
"""

import os
import tempfile
from functools import partial
from pathlib import Path

from docs.console import run_command, run_page, write_lfp

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "cli.md"


def present_page(folder: Path, page: str) -> str:
    """Return a page with the present output of its commands, which run in an empty folder."""
    project, tools = folder / "shop", folder / "bin"
    project.mkdir()
    tools.mkdir()
    write_lfp(tools)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LFP_", "DAGSTER_"))
    }
    environment = inherited | {
        "COLUMNS": "100",
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "HOME": str(folder),
        "TZ": "UTC",
    }
    run = partial(run_command, folder=project, environment=environment)
    return run_page(page, run)


def main() -> None:
    """Replace the output of each command in the page."""
    with tempfile.TemporaryDirectory(prefix="lfp-cli-") as folder:
        page = present_page(Path(folder), PAGE.read_text())
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
