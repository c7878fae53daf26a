"""The project folder is found from the current folder."""

import os
from pathlib import Path

import pytest

from lfp_pipeline.common.project_folder import find_project, project_root
from testing.processes import PROJECT, finish, start


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


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of another user")
def test_a_file_of_another_user_above_the_current_folder_marks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outer, below = tmp_path / "outer", tmp_path / "outer" / "all users" / "mine"
    below.mkdir(parents=True)
    planted = below.parent / "lfp.toml"
    planted.touch()
    os.chown(planted, 12345, 12345)
    (outer / "lfp.toml").touch()
    monkeypatch.chdir(below)
    assert [project_root(), project_root()] == [outer, outer]
    assert caplog.messages == [f"{planted} is ignored: it belongs to another user (id 12345)."]
    planted.unlink()
    planted.symlink_to(outer / "lfp.toml")  # A link of that user to a file of this one.
    os.lchown(planted, 12345, 12345)
    assert project_root() == outer
    os.chown(below, 12345, 12345)  # In a folder of that user, his project is meant.
    assert project_root() == planted.parent


CLOSED = """
import os, sys
from lfp_pipeline.common import project_folder
project_folder._clone = lambda: None
os.chdir(sys.argv[1])
os.setuid(12345)
print(project_folder.project_root())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_another_user_has_closed_has_no_project(tmp_path: Path) -> None:
    closed, below = tmp_path / "closed", tmp_path / "closed" / "below"
    below.mkdir(parents=True)
    for folder in (below, closed):
        (folder / "lfp.toml").touch()
        folder.chmod(0o700)
    assert finish([start(CLOSED, below)]) == [f"{below}\n"]
