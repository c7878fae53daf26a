"""A Dagster home is made by concurrent processes, and repaired if it is broken."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
import pytest

from lfp_pipeline.cli.dagster_home import (
    dagster_home,
    is_customized,
    main,
    needs_broker,
    prepared_home,
)
from lfp_pipeline.cli.main import main as lfp
from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.errors import SettingsError
from testing.command_line import WITHOUT_PRIVILEGES, CommandLine, needs_permissions
from testing.command_line import start as start_command
from testing.processes import PROJECT, finish, start

pytestmark = pytest.mark.slow  # Each starts processes.

TEMPLATE = TEMPLATES / "dagster.yaml"

DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")

FIRST_USE = """
import os, sys
os.chdir(sys.argv[1])
from lfp_pipeline.cli.dagster_home import prepared_home
prepared_home()
import dagster as dg

@dg.job
def nothing():
    pass

with dg.DagsterInstance.get() as instance:
    result = nothing.execute_in_process(instance=instance, raise_on_error=False)
    print(instance.get_run_by_id(result.run_id).status.value)
"""


def versions(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [
            version for (version,) in connection.execute("SELECT version_num FROM alembic_version")
        ]


@pytest.mark.parametrize("repair", [main, lambda: lfp(["init"])], ids=["make setup", "lfp init"])
def test_a_broken_home_is_repaired_and_keeps_its_history(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    repair: Callable[[], object],
) -> None:
    monkeypatch.chdir(tmp_path)
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
    with suppress(SystemExit):
        repair()
    assert capsys.readouterr().err.count("Repaired ") == 3
    assert [versions(tmp_path / name) for name in DATABASES] == before
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert list(instance.get_dynamic_partitions("product_files")) == ["a.csv"]


def test_a_home_whose_parent_is_missing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "missing" / "home"))
    assert main() == 1
    assert "home cannot be used: No such file or directory" in capsys.readouterr().err


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project folder, with a space in its name, in which this process works."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "lfp.toml").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DAGSTER_HOME", "")  # So that what is set here is undone.
    return folder


def test_the_home_is_in_the_project_unless_it_is_named(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert dagster_home() == empty_project / ".dagster_home"
    (empty_project / "below").mkdir()
    monkeypatch.chdir(empty_project / "below")
    assert dagster_home() == empty_project / ".dagster_home"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "named"))
    assert dagster_home() == tmp_path / "named"


def test_the_first_use_prepares_the_home_and_says_where_it_is(
    empty_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = prepared_home()
    assert home == empty_project / ".dagster_home"
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert capsys.readouterr() == ("", f"Dagster home: {home} (DAGSTER_HOME is not set)\n")
    assert (home / "dagster.yaml").read_bytes() == TEMPLATE.read_bytes()
    with dg.DagsterInstance.get() as instance:
        assert instance.root_directory == str(home)
        assert instance.run_retries_enabled
    prepared_home()
    assert capsys.readouterr() == ("", "")


def test_many_first_uses_at_once_make_one_home(empty_project: Path) -> None:
    unset = {"DAGSTER_HOME": ""}
    processes = [start(FIRST_USE, empty_project, environment=unset) for _ in range(5)]
    assert finish(processes) == ["SUCCESS\n"] * 5
    home = empty_project / ".dagster_home"
    assert [len(versions(home / name)) for name in DATABASES] == [1, 1, 1]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.get_runs()) == 5


def test_a_prepared_home_is_used_without_dagster(empty_project: Path) -> None:
    prepared_home()
    code = "import os, sys; os.chdir(sys.argv[1]); from lfp_pipeline.cli import dagster_home as d;"
    code += "d.prepared_home(); print('dagster' in sys.modules)"
    assert finish([start(code, empty_project, environment={"DAGSTER_HOME": ""})]) == ["False\n"]


def test_a_home_of_a_former_version_gets_a_file_instead_of_its_link(empty_project: Path) -> None:
    home = empty_project / ".dagster_home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.add_dynamic_partitions("product_files", ["a.csv"])
    (home / "prepared").touch()
    (home / "dagster.yaml").symlink_to("../dagster.yaml")
    prepared_home()
    assert not (home / "dagster.yaml").is_symlink()
    assert (home / "dagster.yaml").read_bytes() == TEMPLATE.read_bytes()
    with dg.DagsterInstance.get() as instance:
        assert list(instance.get_dynamic_partitions("product_files")) == ["a.csv"]
        assert instance.run_retries_enabled


@pytest.mark.usefixtures("empty_project")
def test_the_template_of_a_new_version_replaces_only_the_unchanged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepared_home() / "dagster.yaml"
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr("lfp_pipeline.cli.dagster_home.TEMPLATES", tmp_path / "templates")
    template = tmp_path / "templates" / "dagster.yaml"
    template.write_text("telemetry: {enabled: false}  # new\n")
    prepared_home()
    assert config.read_text() == template.read_text()
    config.write_text("telemetry: {enabled: false}  # mine\n")
    template.write_text("telemetry: {enabled: false}  # newer\n")
    prepared_home()
    assert config.read_text() == "telemetry: {enabled: false}  # mine\n"


def test_a_home_of_a_user_keeps_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    config = tmp_path / "dagster.yaml"
    config.write_text("telemetry: {enabled: false}\n")
    prepared_home()
    assert config.read_text() == "telemetry: {enabled: false}\n"
    assert f"{config} is kept" in capsys.readouterr().err
    prepared_home()
    assert capsys.readouterr() == ("", "")
    config.unlink()
    (tmp_path / "prepared").unlink()
    prepared_home()
    assert not config.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", 'dagster.yaml", line 1, column'),
        ("bogus: 1", 'unexpected config entry "bogus"'),
        ("- a", "to parse to dictionary"),
    ],
)
@pytest.mark.usefixtures("empty_project")
def test_a_wrong_configuration_of_a_user_is_reported_in_three_lines(text: str, reason: str) -> None:
    config = prepared_home() / "dagster.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError) as raised:
        prepared_home()
    message = str(raised.value)
    assert message.startswith(f"The Dagster home {config.parent} cannot be used: ")
    assert reason in message
    assert (message.count("\n") < 3, len(message) < 500) == (True, True)
    (config.parent / "prepared").unlink()  # As if another version had prepared it.
    with pytest.raises(SettingsError, match="cannot be used"):
        prepared_home()


def test_without_a_project_the_message_names_the_command_that_makes_one(tmp_path: Path) -> None:
    """The package lies beside this repository's `pyproject.toml`, so the test uses a copy."""
    package = tmp_path / "site" / "lfp_pipeline"
    shutil.copytree(PROJECT / "lfp_pipeline", package, ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "empty").mkdir()
    code = "import os, sys; os.chdir(sys.argv[1]); sys.path[:0] = [sys.argv[2]];"
    code += "from lfp_pipeline.cli.dagster_home import prepared_home; prepared_home()"
    unset = {"LFP_SETTINGS_FILE": "", "LFP_DATA_DIR": "", "PYTHONPATH": str(package.parent)}
    process = start(code, tmp_path / "empty", package.parent, environment=unset)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is in no project (no lfp.toml). `lfp init` makes it one." in errors
    assert list((tmp_path / "empty").iterdir()) == []


@needs_permissions
@pytest.mark.parametrize("unwritable", [".", "history/runs", "schedules/schedules.db"])
def test_a_home_that_may_not_be_written_is_named_with_what_to_do(
    lfp: CommandLine, unwritable: str
) -> None:
    path = lfp.home / unwritable
    path.chmod(0o555 if path.is_dir() else 0o444)
    commands = [start_command(name, wrapper=WITHOUT_PRIVILEGES) for name in ("verify", "dev")]
    try:
        for process in commands:
            out, err = process.communicate(timeout=120)
            assert (process.returncode, out) == (1, ""), err
            message = err.splitlines()[-1]
            assert f"The Dagster home {lfp.home} cannot be used" in message
            assert f"may not write {path}. " in message
            assert f"sudo chown -R {os.getuid()} {lfp.home};" in message
            assert "DAGSTER_HOME" in message
            assert len(err.splitlines()) <= 3
    finally:
        path.chmod(0o755)
        for process in commands:
            process.kill()


@needs_permissions
def test_a_home_whose_databases_are_elsewhere_needs_no_write_access(empty_project: Path) -> None:
    """As one with a database server, which a user has prepared."""
    home = prepared_home()
    shutil.rmtree(home / "history")
    shutil.rmtree(home / "schedules")
    home.chmod(0o555)
    code = "import os, sys; os.chdir(sys.argv[1]); from lfp_pipeline.cli.dagster_home import *;"
    process = subprocess.run(
        [*WITHOUT_PRIVILEGES, sys.executable, "-c", f"{code} prepared_home()", str(empty_project)],
        env={**os.environ, "DAGSTER_HOME": "", "PYTHONPATH": str(PROJECT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


def test_a_home_of_one_machine_becomes_one_of_several_hosts_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    config, of_hosts = tmp_path / "dagster.yaml", TEMPLATES / "dagster-cluster.yaml"
    prepared_home()
    assert config.read_text() == TEMPLATE.read_text()
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp:s3cret@127.0.0.1:1/lfp")
    prepared_home()  # No server is asked.
    assert config.read_text() == of_hosts.read_text()
    assert not is_customized(tmp_path)
    assert needs_broker(tmp_path)
    monkeypatch.delenv("LFP_CATALOG")
    prepared_home()
    assert config.read_text() == TEMPLATE.read_text()
    assert not is_customized(tmp_path)
    config.write_text(f"{TEMPLATE.read_text()}\n# Mine.\n")
    prepared_home()
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp:s3cret@127.0.0.1:1/lfp")
    (tmp_path / "prepared").unlink()
    prepared_home()
    assert config.read_text().endswith("# Mine.\n")
    assert is_customized(tmp_path)
    assert not needs_broker(tmp_path)
    config.write_text(of_hosts.read_text().replace("success: 90", "success: 9"))
    assert needs_broker(tmp_path), "the launcher decides, not the retention"
    assert "is kept" in capsys.readouterr().err
