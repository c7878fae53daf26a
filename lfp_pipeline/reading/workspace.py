"""The workspace: an in-memory DuckDB for reading deliveries, with limited access and resources."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from lfp_pipeline.common.duckdb_tools import defer_checkpoints
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.common.text import divided_size
from lfp_pipeline.settings import Settings


@dataclass(frozen=True)
class WorkspaceLimits:
    """The resources of one workspace: DuckDB threads, and memory as a size such as `2GB`."""

    threads: int
    memory_limit: str

    @classmethod
    def of(cls, settings: Settings, share: int = 1) -> Self:
        """Return an equal part of the resources of a run, for one of `share` workspaces."""
        return cls(max(1, settings.threads // share), divided_size(settings.memory_limit, share))


@dataclass(frozen=True)
class Workspace:
    """A connection, and a folder for temporary files; both end with the workspace."""

    connection: duckdb.DuckDBPyConnection
    folder: Path

    @contextmanager
    def folder_for(self, number: int) -> Iterator[Path]:
        """Create a folder for the files of one delivery, and delete it after the block."""
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
    """Open a workspace that can access only some folders beside its own, and load no extension.

    This confines hostile files, because CSV readers have had bugs. The workspace's own folder is
    created in `work_dir`, and deleted after the block. Folders of dead processes are deleted now.
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
            # Progress is measured for the log, but not drawn: DuckDB takes the process of a run for
            # an interactive one.
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute("SET enable_progress_bar = true")
            defer_checkpoints(connection)
            # DuckDB compares the targets of links.
            allowed = [str(path.resolve()) for path in (*folders, folder)]
            connection.execute("SET allowed_directories = $allowed", {"allowed": allowed})
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield Workspace(connection, folder)
