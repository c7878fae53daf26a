"""The workspace: an in-memory DuckDB in which deliveries are read, fenced in and bounded."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from lfp_pipeline.common.duckdb_tools import checkpoint_seldom
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.common.text import divided_size
from lfp_pipeline.settings import Settings


@dataclass(frozen=True)
class WorkspaceLimits:
    """What one workspace may use: DuckDB threads and memory (a size such as `2GB`)."""

    threads: int
    memory_limit: str

    @classmethod
    def of(cls, settings: Settings, share: int = 1) -> Self:
        """What the settings allow a run, divided among so many workspaces at once."""
        return cls(max(1, settings.threads // share), divided_size(settings.memory_limit, share))


@dataclass(frozen=True)
class Workspace:
    """A connection of its own, and a folder for files that end with it."""

    connection: duckdb.DuckDBPyConnection
    folder: Path

    @contextmanager
    def folder_for(self, number: int) -> Iterator[Path]:
        """A folder for the files of one of several deliveries, gone once it was read."""
        folder = self.folder / str(number)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextmanager
def workspace_of(settings: Settings, limits: WorkspaceLimits) -> Iterator[Workspace]:
    """Open a workspace for the deliveries and the warehouse of one data folder."""
    folders = [settings.data_dir, settings.raw_dir, settings.database_path.resolve().parent]
    with open_workspace(folders, settings.work_dir, limits) as workspace:
        yield workspace


@contextmanager
def open_workspace(
    folders: Sequence[Path], work_dir: Path, limits: WorkspaceLimits
) -> Iterator[Workspace]:
    """Open a workspace that can touch no file outside some folders and load no extension.

    The files may be hostile, and CSV readers have had bugs: this is the fence.

    Args:
        folders: what it may touch beside its own folder; they may be links.
        work_dir: where its own folder is made, and gone afterwards. Those of dead processes go now.
        limits: what it may use.
    """
    with scratch_folder(work_dir, "run") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": limits.threads,
            "memory_limit": limits.memory_limit,
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            # Measured, for our own lines in the log, but not drawn: DuckDB takes a run's process
            # for an interactive one.
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute("SET enable_progress_bar = true")
            checkpoint_seldom(connection)
            # DuckDB looks at where links lead.
            allowed = [str(path.resolve()) for path in (*folders, folder)]
            connection.execute("SET allowed_directories = $allowed", {"allowed": allowed})
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield Workspace(connection, folder)
