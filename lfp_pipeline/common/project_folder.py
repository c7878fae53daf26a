"""The project folder, which holds the settings, the sources, the data and the Dagster home."""

import logging
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

PROJECT_FILE = "lfp.toml"
"""Marks a project folder, and holds its settings."""

TEMPLATES = Path(__file__).parents[1] / "templates"
"""The files that a new project gets."""

_LOG = logging.getLogger(__name__)


def project_root() -> Path:
    """Return the project folder of this process.

    That is the nearest folder at or above the current one that has `lfp.toml`; without one, the
    clone that holds this package; for an installed package, the current folder.
    """
    return find_project() or Path.cwd()


def find_project() -> Path | None:
    """Return the folder of `lfp.toml` or the clone, as `project_root`; None if there is neither.

    A project decides what code is executed (`workspace.yaml`, `dagster.yaml`). So a file of that
    name marks a project only if it belongs to this user, to root, or to the owner of the current
    folder, which the user has chosen.
    """
    try:
        current = Path.cwd()
    except FileNotFoundError:  # It was removed, with all projects in it.
        return _clone()
    trusted = {0, os.geteuid()}
    with suppress(PermissionError):
        trusted.add(Path().stat().st_uid)
    for folder in (current, *current.parents):
        file = folder / PROJECT_FILE
        try:
            is_project, owner = file.is_file(), file.lstat().st_uid
        except OSError:  # There is none, or this user may not search the folder.
            continue
        if is_project and owner in trusted:
            return folder
        if is_project:
            _report_foreign(file, owner)
    return _clone()


@cache
def _report_foreign(file: Path, owner: int) -> None:
    """Report a file once in this process."""
    _LOG.warning("%s is ignored: it belongs to another user (id %d).", file, owner)


def _clone() -> Path | None:
    beside_package = Path(__file__).resolve().parents[2]
    return beside_package if (beside_package / "pyproject.toml").exists() else None
