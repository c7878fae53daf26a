"""The project folder is found from the current folder."""

from pathlib import Path

import pytest

from lfp_pipeline.common.project_folder import find_project, project_root
from testing.processes import PROJECT


def test_the_nearest_folder_with_lfp_toml_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, below = tmp_path / "outer" / "inner", tmp_path / "outer" / "inner" / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "outer" / "lfp.toml").touch()
    monkeypatch.chdir(below)
    assert project_root() == tmp_path / "outer"
    (inner / "lfp.toml").mkdir()  # A folder of that name marks nothing.
    assert project_root() == tmp_path / "outer"
    (inner / "lfp.toml").rmdir()
    (inner / "lfp.toml").touch()
    assert project_root() == inner


def test_without_lfp_toml_the_clone_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_root() == PROJECT
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert find_project() == PROJECT
