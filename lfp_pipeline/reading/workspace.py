"""The workspace: an in-memory DuckDB in which one delivery is read, fenced in and bounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb


@dataclass(frozen=True)
class WorkspaceLimits:
    """What one workspace may use: DuckDB threads and memory (a size such as `2GB`)."""

    threads: int
    memory_limit: str


@dataclass(frozen=True)
class Workspace:
    """A connection of its own, and a folder for files that end with it."""

    connection: duckdb.DuckDBPyConnection
    folder: Path


@contextmanager
def open_workspace(data_dir: Path, work_dir: Path, limits: WorkspaceLimits) -> Iterator[Workspace]:
    """Open a workspace that can touch no file outside `data_dir` and load no extension.

    The files may be hostile, and CSV readers have had bugs: this is the fence.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=work_dir) as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": limits.threads,
            "memory_limit": limits.memory_limit,
            "temp_directory": str(Path(folder) / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            # Measured, for our own lines in the log, but not drawn: DuckDB takes a run's process
            # for an interactive one.
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute("SET enable_progress_bar = true")
            connection.execute(f"SET allowed_directories = ['{_quoted(data_dir)}']")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield Workspace(connection, Path(folder))


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
