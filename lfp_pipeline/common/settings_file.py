"""The settings file as a source of settings; a relative path in it starts at the project folder."""

from typing import Any

from pydantic_settings import TomlConfigSettingsSource

from lfp_pipeline.common.project_folder import project_root
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
