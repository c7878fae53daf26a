"""The service files for systemd: one service for the daemon, one for the UI."""

import getpass
import os
import re
import sys
from pathlib import Path

from lfp_pipeline.cli.dagster_home import dagster_home
from lfp_pipeline.common.project_folder import TEMPLATES, project_root
from lfp_pipeline.settings import Settings

_SERVICES = {
    "lfp-daemon": ("sensors, schedules and runs", "dagster-daemon", "run"),
    "lfp-webserver": ("the UI", "dagster-webserver", "--host 127.0.0.1 --port 3000"),
}


def service_files(settings: Settings) -> dict[str, str]:
    """Return the text of each service file of this project, by its path in the project.

    Services run as the present user; if that is root, as the user `lfp`.
    """
    programs = Path(sys.prefix) / "bin"
    writable = dict.fromkeys([project_root(), settings.data_dir, dagster_home()])
    common = {
        "project": _escaped(project_root()),
        "user": getpass.getuser() if os.geteuid() else "lfp",
        "home": _escaped(dagster_home()),
        "lfp": f'"{_escaped(Path(sys.executable))}" -m lfp_pipeline',
        "writable": " ".join(f'"{_escaped(path)}"' for path in writable),
    }
    return {
        f"systemd/{name}.service": _filled_in(
            common
            | {"description": description}
            | {"command": f'"{_escaped(programs / program)}" {options}'}
        )
        for name, (description, program, options) in _SERVICES.items()
    }


def _filled_in(values: dict[str, str]) -> str:
    text = (TEMPLATES / "systemd.service").read_text()
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def _escaped(path: Path) -> str:
    """Return a path in which systemd sees no specifier."""
    return str(path).replace("%", "%%")
