"""Prepares the Dagster home of DAGSTER_HOME: `python -m lfp_pipeline.cli.dagster_home`.

If two processes create the tables of a home at the same time, the tables get two schema versions,
and Dagster refuses to open them ("Version table has more than one head present"). This command
creates the tables before anything else uses them, in one process at a time, and removes the wrong
version from tables that have two.
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from filelock import FileLock

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_HAS_VERSIONS = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
_VERSIONS = "SELECT version_num FROM alembic_version"


def prepare(home: Path) -> list[str]:
    """Create missing tables of a home, and repair databases with two schema versions.

    Returns:
        The names of the repaired databases.
    """
    with FileLock(home / "prepare.lock"):
        repaired = [name for name in _DATABASES if len(_versions(home / name)) > 1]
        if repaired:
            _keep_version(home, repaired)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            _use(instance)
    return repaired


def _use(instance: dg.DagsterInstance) -> None:
    """Make an instance create its tables."""
    instance.get_runs(limit=1)
    instance.get_dynamic_partitions("")
    instance.all_instigator_state()


def _keep_version(home: Path, names: list[str]) -> None:
    """Keep the schema version that Dagster gives to new databases, and delete the other."""
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
    """Prepare the home; return 1 if there is none, else 0."""
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        print("Set DAGSTER_HOME to an existing folder.", file=sys.stderr)
        return 1
    for name in prepare(Path(home)):
        print(f"Repaired {Path(home, name)}: it had the schema versions of two processes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
