"""The workspace is a fence: what a hostile file could make DuckDB do ends at it."""

from pathlib import Path

import duckdb
import pytest

from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace

LIMITS = WorkspaceLimits(threads=2, memory_limit="100MB")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    return path


@pytest.mark.parametrize("name", ["data", "it's", "a [1] *?", "ä b"])
def test_files_in_the_data_folder_can_be_read_and_no_others(
    tmp_path: Path, outside: Path, name: str
):
    data = tmp_path / name
    data.mkdir()
    (data / "inside.csv").write_text("a\n1\n")
    with open_workspace(data, data / "work", LIMITS) as workspace:
        read = "SELECT count(*) FROM read_csv($path)"
        inside = {"path": str(data / "inside.csv")}
        assert workspace.connection.execute(read, inside).fetchall() == [(1,)]
        for path in (outside, data / ".." / outside.name):
            with pytest.raises(duckdb.PermissionException):
                workspace.connection.execute(read, {"path": str(path)})


@pytest.mark.parametrize(
    "statement",
    ["SET threads = 1", "SET enable_external_access = true", "LOAD httpfs", "INSTALL httpfs"],
)
def test_nothing_can_be_configured_or_loaded(tmp_path: Path, statement: str):
    with (
        open_workspace(tmp_path, tmp_path / "work", LIMITS) as workspace,
        pytest.raises(duckdb.Error),
    ):
        workspace.connection.execute(statement)


def test_what_does_not_fit_into_memory_spills_and_is_gone_afterwards(tmp_path: Path):
    with open_workspace(tmp_path, tmp_path / "work", LIMITS) as workspace:
        workspace.connection.execute(
            "CREATE TABLE large AS SELECT md5(i::VARCHAR) AS text FROM range(5000000) r(i)"
        )
        counted = workspace.connection.execute("SELECT count(*) FROM large").fetchall()
        assert counted == [(5_000_000,)]
        assert workspace.folder.parent == tmp_path / "work"
    assert list((tmp_path / "work").iterdir()) == []
