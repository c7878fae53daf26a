"""`lfp init`: creates a project in a folder."""

import os
from collections.abc import Mapping
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--systemd", is_flag=True, help="Write service files for systemd, too.")
def command(folder: Path, systemd: bool) -> None:
    """Create a project in FOLDER (the current one), or what it lacks.

    The project gets its settings (lfp.toml), sources (sources.yaml), inbox and Dagster home. Files
    that exist stay as they are; a Dagster home that two processes have broken is repaired.

    Example: lfp init shop
    """
    from lfp_pipeline.cli.dagster_home import dagster_home, prepare
    from lfp_pipeline.cli.output import say
    from lfp_pipeline.cli.settings_template import settings_template
    from lfp_pipeline.common.project_folder import PROJECT_FILE, TEMPLATES
    from lfp_pipeline.common.setting_types import BUCKET
    from lfp_pipeline.errors import SettingsError
    from lfp_pipeline.settings import load_settings

    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        made = _write_new({PROJECT_FILE: settings_template()})
    except OSError as error:
        msg = f"There can be no project in {folder}: {error.strerror}. Choose another folder."
        raise SettingsError(msg) from None
    try:
        settings = load_settings()  # Of an earlier lfp.toml, perhaps.
        prepare(dagster_home())
    except SettingsError:
        if made[PROJECT_FILE]:
            Path(PROJECT_FILE).unlink()
        raise
    names = {"sources.yaml": "sources.yaml", "workspace.yaml": "workspace.yaml"}
    names[".gitignore"] = "gitignore"
    made |= _write_new({path: (TEMPLATES / name).read_text() for path, name in names.items()})
    if not settings.inbox_place.startswith(BUCKET):
        settings.inbox_dir.mkdir(parents=True, exist_ok=True)
    if systemd:
        from lfp_pipeline.cli.systemd import service_files

        made |= _write_new(service_files(settings))
    for path, is_new in made.items():
        say(f"{'Created' if is_new else 'Kept'} {path}")
    then = "lfp demo, or lfp dev" if settings.catalog is None else "lfp cluster init"
    say(f"Drop files into {settings.inbox_place}. Next: {then}")


def _write_new(files: Mapping[str, str]) -> dict[str, bool]:
    """Write files that do not exist, each whole or not at all.

    Returns:
        Whether each file is new, by its path.
    """
    from lfp_pipeline.common.atomic_files import folder_lock, write_file

    made = {}
    with folder_lock(Path()):  # Another `lfp init` waits.
        for name, text in files.items():
            path = Path(name)
            made[name] = not os.path.lexists(path)
            if made[name]:
                write_file(path, text.encode())
    return made
