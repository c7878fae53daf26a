"""The Dagster home: where it is, and how it is prepared.

If two processes create the tables of a home at the same time, the tables get two schema versions,
and Dagster refuses to open them ("Version table has more than one head present"). So the tables
are created before anything else uses them, in one process at a time. Where they have two versions
already, the wrong one is removed.

`python -m lfp_pipeline.cli.dagster_home` prepares the home again. Dagster is imported only where
a home is not prepared.
"""

import hashlib
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lfp_pipeline.common.project_folder import PROJECT_FILE, TEMPLATES, find_project, project_root

if TYPE_CHECKING:
    import dagster as dg

_VARIABLE = "DAGSTER_HOME"

_PLACE_OF_DATA = "LFP_SETTINGS_FILE", "LFP_DATA_DIR"
"""Settings of a user who needs no project folder."""

_CONFIG = "dagster.yaml"
_CONFIG_OF_HOSTS = "dagster-cluster.yaml"
_LAUNCHER_OF_WORKERS = "WorkerRunLauncher"
_MARKER = "prepared"
"""Holds the digest of the template that the home was prepared with."""

_FORMER_LINK = Path("../dagster.yaml")
"""Target of the link that earlier versions made instead of a file."""

_REASON_LENGTH = 300
"""Dagster's texts on a wrong configuration repeat the schema of all of it."""

FIRST_CURSORS = {
    "EVENT_LOG_CONSUMER_CURSOR-PIPELINE_FAILURE": "0",
    "EVENT_LOG_CONSUMER_CURSOR-PIPELINE_SUCCESS": "0",
}
"""In a home without runs, where the daemon that retries runs would warn of missing cursors."""

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_HAS_VERSIONS = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
_VERSIONS = "SELECT version_num FROM alembic_version"


def dagster_home() -> Path:
    """Return the folder that `DAGSTER_HOME` names; without it, `.dagster_home` in the project.

    Raises:
        SettingsError: it names the home of a user whom this machine does not have.
    """
    named = os.environ.get(_VARIABLE)
    if not named:
        return project_root() / ".dagster_home"
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:
        from lfp_pipeline.errors import SettingsError

        msg = f"{_VARIABLE} = {named!r}: {error}"
        raise SettingsError(msg) from None


def require_project() -> None:
    """Refuse to work in a folder that is not part of a project.

    Raises:
        SettingsError: nothing says where the data is.
    """
    from lfp_pipeline.errors import SettingsError

    if find_project() is None and not any(os.environ.get(name) for name in _PLACE_OF_DATA):
        msg = f"{Path.cwd()} is in no project (no {PROJECT_FILE}). `lfp init` makes it one."
        raise SettingsError(msg)


def prepared_home() -> Path:
    """Return the Dagster home, and set `DAGSTER_HOME` for this process and its children.

    A home that is missing, or that another version prepared, is prepared first. A configuration
    that a user wrote is checked.

    Raises:
        SettingsError: there is no project here, or its home cannot be used.
    """
    require_project()
    home = dagster_home()
    if not os.environ.get(_VARIABLE):
        print(f"Dagster home: {home} ({_VARIABLE} is not set)", file=sys.stderr)
    _require_access(home)
    if not _is_current(home):
        prepare(home, even_if_current=False)
    elif _is_of_user(home / _CONFIG):
        with _usable(home), _opened(home):
            pass
    os.environ[_VARIABLE] = str(home)
    return home


def prepare(home: Path, *, even_if_current: bool = True) -> list[str]:
    """Create what is missing in a home, and repair databases with two schema versions.

    Returns:
        The names of the repaired databases.

    Raises:
        SettingsError: the home cannot be written, or its configuration is wrong.
    """
    from filelock import FileLock

    with _usable(home):
        home.mkdir(exist_ok=True)
        with FileLock(home / "prepare.lock"):
            if _is_current(home) and not even_if_current:
                return []  # Another process has prepared it meanwhile.
            _install_config(home)
            is_shared = _template().name == _CONFIG_OF_HOSTS  # `lfp cluster init` makes tables.
            repaired = [] if is_shared else _prepare_databases(home)
            for name in repaired:
                message = f"Repaired {home / name}: it had the schema versions of two processes."
                print(message, file=sys.stderr)
            (home / _MARKER).write_text(_digest(_template()))
    return repaired


def _require_access(home: Path) -> None:
    """Raise if this user may not write the databases in a home, or may not enter it."""
    from lfp_pipeline.errors import SettingsError

    databases = [home / name for name in _DATABASES if os.path.exists(home / name)]  # noqa: PTH110 (no errors)
    write = os.W_OK if databases else 0  # Those of a user's configuration may be elsewhere.
    for path in dict.fromkeys([home, *(file.parent for file in databases), *databases]):
        enter = 0 if path in databases else os.X_OK
        if os.path.lexists(path) and not os.access(path, os.R_OK | write | enter):
            place = shlex.quote(str(home))
            msg = (
                f"The Dagster home {home} cannot be used: this user may not write {path}. Give it "
                f"to this user (sudo chown -R {os.getuid()} {place}; chmod -R u+rwX {place}), or "
                f"set {_VARIABLE} to another folder."
            )
            raise SettingsError(msg)


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    """Report what fails in the block as a fault of the home."""
    from lfp_pipeline.common.text import shortened
    from lfp_pipeline.errors import SettingsError

    try:
        yield
    except Exception as error:  # Of YAML, of Dagster's checks, of classes that a user names.
        reason = error.strerror if isinstance(error, OSError) else None
        text = shortened(reason or str(error), _REASON_LENGTH)
        msg = f"The Dagster home {home} cannot be used: {text}"
        raise SettingsError(msg) from error


def _opened(home: Path) -> "dg.DagsterInstance":
    import dagster as dg

    return dg.DagsterInstance.from_config(str(home))


def _template() -> Path:
    """Return the configuration of this version: for one machine, or for several hosts."""
    from lfp_pipeline.settings import load_settings

    return TEMPLATES / (_CONFIG if load_settings().catalog is None else _CONFIG_OF_HOSTS)


def is_customized(home: Path) -> bool:
    """Return whether a home has a configuration that a user wrote or changed."""
    config, marker = home / _CONFIG, home / _MARKER
    ours = {_digest(TEMPLATES / name) for name in (_CONFIG, _CONFIG_OF_HOSTS)}
    if marker.exists():
        ours.add(marker.read_text())
    return config.exists() and _digest(config) not in ours


def needs_broker(home: Path) -> bool:
    """Return whether the workers execute the runs, by the run launcher of a home's configuration.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    import yaml

    with _usable(home):
        config = home / _CONFIG if is_customized(home) else _template()
        launcher = (yaml.safe_load(config.read_text()) or {}).get("run_launcher") or {}
        return bool(launcher.get("class") == _LAUNCHER_OF_WORKERS)


def _is_of_user(config: Path) -> bool:
    return config.exists() and _digest(config) != _digest(_template())


def _is_current(home: Path) -> bool:
    marker, config = home / _MARKER, home / _CONFIG
    prepared_with = marker.read_text() if marker.exists() else None
    is_dangling = config.is_symlink() and not config.exists()
    return prepared_with == _digest(_template()) and not is_dangling


def _install_config(home: Path) -> None:
    """Write `dagster.yaml`, unless the home has one that a user wrote or changed.

    A home with a history and without `dagster.yaml` is a user's, too.
    """
    config, template, marker = home / _CONFIG, _template(), home / _MARKER
    if config.exists():
        if _digest(config) == _digest(template):
            return
        if not marker.exists() or marker.read_text() != _digest(config):
            print(f"{config} is kept; this version's differs: {template}", file=sys.stderr)
            return
    elif config.is_symlink():
        if config.readlink() != _FORMER_LINK:
            return
    elif (home / "history").exists():
        return
    from lfp_pipeline.common.atomic_files import write_file

    write_file(config, template.read_bytes())


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _prepare_databases(home: Path) -> list[str]:
    repaired = [name for name in _DATABASES if len(_versions(home / name)) > 1]
    if repaired:
        _keep_version(home, repaired)
    with _opened(home) as instance:
        _use(instance)
        if not instance.get_runs(limit=1):
            instance.daemon_cursor_storage.set_cursor_values(FIRST_CURSORS)
    return repaired


def _use(instance: "dg.DagsterInstance") -> None:
    """Make an instance create its tables."""
    instance.get_runs(limit=1)
    instance.get_dynamic_partitions("")
    instance.all_instigator_state()


def _keep_version(home: Path, names: list[str]) -> None:
    """Keep the schema version that Dagster gives to new databases, and delete the other."""
    import dagster as dg

    with TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as fresh:
        _use(fresh)
        for name in names:
            (version,) = _versions(Path(folder) / name)
            with closing(sqlite3.connect(home / name)) as connection, connection:
                connection.execute("DELETE FROM alembic_version WHERE version_num <> ?", [version])


def _versions(database: Path) -> list[str]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as connection:
        if not connection.execute(_HAS_VERSIONS).fetchall():
            return []
        return [version for (version,) in connection.execute(_VERSIONS)]


def main() -> int:
    """Prepare the home; return 1 if that is impossible, else 0."""
    from lfp_pipeline.errors import SettingsError

    try:
        prepare(dagster_home())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
