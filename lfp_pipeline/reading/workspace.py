"""The workspace: an in-memory DuckDB for reading deliveries, with limited access and resources."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import duckdb

from lfp_pipeline.common.duckdb_tools import defer_checkpoints
from lfp_pipeline.common.process_marks import scratch_folder
from lfp_pipeline.common.text import divided_size
from lfp_pipeline.settings import Settings


class Tables(Protocol):
    """A warehouse that can be attached to a confined connection (`warehouse.backend.Backend`)."""

    @property
    def folders(self) -> Sequence[str]:
        """The folders, or prefixes in a bucket, that a connection must be able to access."""

    def connect(self, config: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        """Return a new connection with these settings of DuckDB."""


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
def workspace_of(
    settings: Settings, limits: WorkspaceLimits, tables: Tables, *, read_only: bool = False
) -> Iterator[Workspace]:
    """Open a workspace for the deliveries and the warehouse of one data folder.

    Args:
        tables: the warehouse.
        read_only: whether the data folder is to be left as it is (see `planning_folder`).
    """
    folders = [settings.data_dir, settings.raw_dir]
    with ExitStack() as stack:
        work_dir = settings.work_dir
        if read_only:
            work_dir = stack.enter_context(planning_folder(settings))
        yield stack.enter_context(open_workspace(folders, work_dir, limits, tables))


@contextmanager
def planning_folder(settings: Settings) -> Iterator[Path]:
    """Create a scratch folder for the block, which leaves nothing behind.

    It lies in the data folder, because the disk of temporary files may be small, and because what
    a killed process leaves there is removed. If the data folder cannot be written, it lies with the
    temporary files.
    """
    work_dir = settings.work_dir
    is_new = not work_dir.exists()
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(work_dir, "plan"))
        except OSError:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lfp-")))
        yield folder
    if is_new:
        with suppress(OSError):  # Another process uses it now, or it could not be created.
            work_dir.rmdir()


@contextmanager
def open_workspace(
    folders: Sequence[Path],
    work_dir: Path,
    limits: WorkspaceLimits,
    tables: Tables | None = None,
) -> Iterator[Workspace]:
    """Open a workspace that can access only some folders beside its own, and load no extension.

    With tables, their warehouse can be attached to its connection.

    This confines hostile files, because CSV readers have had bugs. The workspace's own folder is
    created in `work_dir`, and deleted after the block. Folders of dead processes are deleted now.
    """
    with scratch_folder(work_dir, "run") as folder:
        config: Mapping[str, Any] = {
            "threads": limits.threads,
            "memory_limit": limits.memory_limit,
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with (tables.connect if tables else _connect)(config) as connection:
            # Progress is measured for the log, but not drawn: DuckDB takes the process of a run for
            # an interactive one.
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute("SET enable_progress_bar = true")
            defer_checkpoints(connection)
            # DuckDB compares the targets of links.
            allowed = [str(path.resolve()) for path in (*folders, folder)]
            allowed += tables.folders if tables else ()
            connection.execute("SET allowed_directories = $allowed", {"allowed": allowed})
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield Workspace(connection, folder)


def _connect(config: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config=dict(config))
