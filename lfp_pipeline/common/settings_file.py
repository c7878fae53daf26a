"""The settings file as a source of settings; a relative path in it starts at the project folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import TomlConfigSettingsSource

from lfp_pipeline.common.project_folder import PROJECT_FILE, project_root
from lfp_pipeline.common.setting_names import SETTINGS_FILE_VARIABLE
from lfp_pipeline.common.setting_types import BUCKET

_PATHS = ("data_dir", "sources_file", "lake", "raw", "inbox")


class SettingsFile(TomlConfigSettingsSource):
    """The values of the file, with absolute paths."""

    def __call__(self) -> dict[str, Any]:
        """Return the value of each setting in the file."""
        values = super().__call__()
        paths = {name: values[name] for name in _PATHS if name in values}
        return values | {
            name: str(project_root() / path)
            for name, path in paths.items()
            if isinstance(path, str) and not path.startswith(("~", BUCKET))
        }


def settings_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the settings file, which may not exist.

    Raises:
        FileNotFoundError: an environment variable names a file that does not exist.
    """
    named = environ.get(SETTINGS_FILE_VARIABLE)
    if named and not Path(named).is_file():
        msg = f"{SETTINGS_FILE_VARIABLE}={named}: there is no such file."
        raise FileNotFoundError(msg)
    return Path(named) if named else project_root() / PROJECT_FILE
