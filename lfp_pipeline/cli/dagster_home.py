"""Prepares the Dagster home that DAGSTER_HOME names: `python -m lfp_pipeline.cli.dagster_home`.

Two processes that make the tables of a home at the same time write two schema versions into them,
and Dagster opens them no more ("Version table has more than one head present"). So they are made
here, one process at a time, before anything else uses them; and the wrong version is removed from
those that are broken already.
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
    """Make the tables of a home that lacks them, and mend those with two versions.

    Returns:
        The databases that were mended.
    """
    with FileLock(home / "prepare.lock"):
        mended = [name for name in _DATABASES if len(_versions(home / name)) > 1]
        if mended:
            _keep_version(home, mended)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            _use(instance)
    return mended


def _use(instance: dg.DagsterInstance) -> None:
    """Have an instance make its tables."""
    instance.get_runs(limit=1)
    instance.get_dynamic_partitions("")
    instance.all_instigator_state()


def _keep_version(home: Path, names: list[str]) -> None:
    """Leave these databases the version that Dagster gives to new ones: their tables have it."""
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
    """Prepare the home; the exit code tells whether there is one."""
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        print("Set DAGSTER_HOME to an existing folder.", file=sys.stderr)
        return 1
    for name in prepare(Path(home)):
        print(f"Repaired {Path(home, name)}: it had the schema versions of two processes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
