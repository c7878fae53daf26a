"""The service files for systemd: of the daemon and the UI, or of a head and a worker."""

import getpass
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from lfp_pipeline.cli.dagster_home import dagster_home
from lfp_pipeline.common.project_folder import TEMPLATES, project_root
from lfp_pipeline.common.setting_names import (
    ENV_PREFIX,
    SETTINGS_FILE_VARIABLE,
    accepted_names,
    secret_names,
)
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.settings import Settings

_SERVICES = {
    "lfp-daemon": ("sensors, schedules and runs", "dagster._daemon run"),
    "lfp-webserver": ("the UI", "dagster_webserver --host 127.0.0.1 --port 3000"),
}
_SERVICES_OF_HOSTS = {
    "lfp-head": ("the UI and the sensors, on one of several hosts", "lfp_pipeline cluster head"),
    "lfp-worker": ("runs", "lfp_pipeline worker"),
}


def service_files(settings: Settings) -> dict[str, str]:
    """Return the text of each service file of this project, by its path in the project.

    Services run as the present user; if that is root, as the user `lfp`. They get the settings of
    the present environment, except secrets.

    Raises:
        SettingsError: systemd cannot start this Python.
    """
    if set(sys.executable) & set("\"'\\"):
        msg = f"{sys.executable}: systemd starts no program with a quote or backslash in its path."
        raise SettingsError(msg)
    writable = dict.fromkeys([project_root(), settings.data_dir, dagster_home()])
    variables = {"DAGSTER_HOME": str(dagster_home())} | _variables(settings, os.environ)
    services = _SERVICES if settings.catalog is None else _SERVICES_OF_HOSTS
    joined = [f"{name}.service" for name in services if services is _SERVICES]
    common = {
        "project": str(project_root()).replace("%", "%%"),  # Not a quoted word.
        "user": getpass.getuser() if os.geteuid() else "lfp",
        "environment": " ".join(_quoted(f"{name}={text}") for name, text in variables.items()),
        "python": _quoted(sys.executable),
        "writable": " ".join(_quoted(str(path)) for path in writable),
        "joined": " ".join(joined),
        "capabilities": "" if settings.inbox_place.startswith(BUCKET) else "CAP_LEASE",
    }
    return {
        f"systemd/{name}.service": _filled_in(
            common | {"description": description, "command": command}
        )
        for name, (description, command) in services.items()
    }


def _variables(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that are settings, with absolute paths."""
    present_names = accepted_names(Settings.model_fields)
    secret = secret_names(Settings.model_fields)
    variables = {}
    for variable, text in environ.items():
        name = present_names.get(variable.removeprefix(ENV_PREFIX).lower())
        if variable == SETTINGS_FILE_VARIABLE and text:
            variables[variable] = str(Path(text).absolute())
        elif variable.startswith(ENV_PREFIX) and name and text and name not in secret:
            value = getattr(settings, name)
            variables[variable] = str(value) if isinstance(value, Path | str) else text
    return variables


def _filled_in(values: dict[str, str]) -> str:
    text = (TEMPLATES / "systemd.service").read_text()
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def _quoted(word: str) -> str:
    """Return a word in which systemd sees no quote, escape or specifier of the original."""
    for character, escape in ("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("\n", "\\n"):
        word = word.replace(character, escape)
    return f'"{word}"'
