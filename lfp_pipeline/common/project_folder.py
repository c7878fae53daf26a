"""The project folder, which holds the settings, the sources, the data and the Dagster home."""

from pathlib import Path

PROJECT_FILE = "lfp.toml"
"""Marks a project folder, and holds its settings."""

TEMPLATES = Path(__file__).parents[1] / "templates"
"""The files that a new project gets."""


def project_root() -> Path:
    """Return the project folder of this process.

    That is the nearest folder at or above the current one that has `lfp.toml`; without one, the
    clone that holds this package; for an installed package, the current folder.
    """
    return find_project() or Path.cwd()


def find_project() -> Path | None:
    """Return the folder of `lfp.toml` or the clone, as `project_root`; None if there is neither."""
    try:
        current = Path.cwd()
    except FileNotFoundError:  # It was removed, with all projects in it.
        return _clone()
    near = (folder for folder in (current, *current.parents) if (folder / PROJECT_FILE).is_file())
    return next(near, None) or _clone()


def _clone() -> Path | None:
    beside_package = Path(__file__).resolve().parents[2]
    return beside_package if (beside_package / "pyproject.toml").exists() else None
