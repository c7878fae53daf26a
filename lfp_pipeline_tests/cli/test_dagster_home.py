"""A Dagster home is made by concurrent processes, and repaired if it is broken."""

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from lfp_pipeline.cli.dagster_home import main
from testing.processes import finish, start

DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")

PREPARE = """
import sys, time
from lfp_pipeline.cli.dagster_home import main
print("ready", flush=True)
sys.stdin.readline()
sys.exit(main())
"""


def versions(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [
            version for (version,) in connection.execute("SELECT version_num FROM alembic_version")
        ]


def test_concurrent_processes_make_one_home(tmp_path: Path) -> None:
    processes = [start(PREPARE, environment={"DAGSTER_HOME": str(tmp_path)}) for _ in range(4)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    finish(processes)
    assert [len(versions(tmp_path / name)) for name in DATABASES] == [1, 1, 1]


def test_a_broken_home_is_repaired_and_keeps_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert main() == 0
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("product_files", ["a.csv"])
    before = [versions(tmp_path / name) for name in DATABASES]
    for name in DATABASES:
        with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
            connection.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
    with pytest.raises(Exception, match="more than one head"):
        dg.DagsterInstance.from_config(str(tmp_path))
    assert main() == 0
    assert capsys.readouterr().out.count("Repaired ") == 3
    assert [versions(tmp_path / name) for name in DATABASES] == before
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert list(instance.get_dynamic_partitions("product_files")) == ["a.csv"]


def test_a_missing_home_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "missing"))
    assert main() == 1
    assert "Set DAGSTER_HOME" in capsys.readouterr().err
