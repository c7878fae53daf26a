"""The workspace limits what a hostile file could make DuckDB do."""

from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from testing.processes import running

LIMITS = WorkspaceLimits(threads=2, memory_limit="100MB")

OPEN_AND_WAIT = """
import sys, time
from pathlib import Path
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace

folder = Path(sys.argv[1])
with open_workspace([folder], folder, WorkspaceLimits(threads=1, memory_limit="100MB")):
    print("open", flush=True)
    time.sleep(600)
"""


def folders_in(work_dir: Path) -> list[Path]:
    return [path for path in work_dir.iterdir() if path.is_dir()]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    return path


@pytest.mark.parametrize("name", ["data", "it's", "a [1] *?", "ä b"])
def test_only_files_in_the_data_folder_can_be_read(tmp_path: Path, outside: Path, name: str):
    data = tmp_path / name
    data.mkdir()
    (data / "inside.csv").write_text("a\n1\n")
    with open_workspace([data], data / "work", LIMITS) as workspace:
        read = "SELECT count(*) FROM read_csv($path)"
        inside = {"path": str(data / "inside.csv")}
        assert workspace.connection.execute(read, inside).fetchall() == [(1,)]
        for path in (outside, data / ".." / outside.name):
            with pytest.raises(duckdb.PermissionException):
                workspace.connection.execute(read, {"path": str(path)})


def test_folders_may_be_links_to_another_disk(tmp_path: Path, outside: Path):
    data, disk = tmp_path / "data", tmp_path / "disk"
    for folder in ("raw", "work"):
        (disk / folder).mkdir(parents=True)
        data.mkdir(exist_ok=True)
        (data / folder).symlink_to(disk / folder)
    (data / "raw" / "inside.csv").write_text("a\n1\n")
    with open_workspace([data, data / "raw"], data / "work", LIMITS) as workspace:
        (workspace.folder / "copy.csv").write_text("a\n1\n")
        read = "SELECT count(*) FROM read_csv($path)"
        for path in (data / "raw" / "inside.csv", workspace.folder / "copy.csv"):
            assert workspace.connection.execute(read, {"path": str(path)}).fetchall() == [(1,)]
        with pytest.raises(duckdb.PermissionException):
            workspace.connection.execute(read, {"path": str(outside)})


@pytest.mark.parametrize(
    "statement",
    ["SET threads = 1", "SET enable_external_access = true", "LOAD httpfs", "INSTALL httpfs"],
)
def test_configuration_and_extensions_are_locked(tmp_path: Path, statement: str):
    with (
        open_workspace([tmp_path], tmp_path / "work", LIMITS) as workspace,
        pytest.raises(duckdb.Error),
    ):
        workspace.connection.execute(statement)


def test_data_beyond_memory_spills_and_the_spill_is_deleted(tmp_path: Path):
    with open_workspace([tmp_path], tmp_path / "work", LIMITS) as workspace:
        workspace.connection.execute(
            "CREATE TABLE large AS SELECT md5(i::VARCHAR) AS text FROM range(5000000) r(i)"
        )
        counted = workspace.connection.execute("SELECT count(*) FROM large").fetchall()
        assert counted == [(5_000_000,)]
        assert workspace.folder.parent == tmp_path / "work"
    assert list((tmp_path / "work").iterdir()) == []


def test_only_folders_of_dead_processes_are_deleted(tmp_path: Path):
    with running(OPEN_AND_WAIT, tmp_path):
        (killed,) = folders_in(tmp_path)
        (killed / "plain.csv").write_text("what it unpacked")
        with open_workspace([tmp_path], tmp_path, LIMITS) as workspace:
            assert set(folders_in(tmp_path)) == {killed, workspace.folder}
    assert folders_in(tmp_path) == [killed]
    with open_workspace([tmp_path], tmp_path, LIMITS) as workspace:
        assert folders_in(tmp_path) == [workspace.folder]
    assert list(tmp_path.iterdir()) == []
