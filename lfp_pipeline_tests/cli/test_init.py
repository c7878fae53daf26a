"""`lfp init` creates a project, and leaves alone what there is."""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from lfp_pipeline.cli.main import main
from lfp_pipeline.cli.settings_template import settings_template
from lfp_pipeline.common.setting_names import ENV_PREFIX
from lfp_pipeline.settings import Settings, load_settings
from testing.processes import start

pytestmark = pytest.mark.slow  # Each starts processes.

INIT = """
import sys
from lfp_pipeline.cli.main import main
print("ready", flush=True)
sys.stdin.readline()
main(["init", sys.argv[1]])
"""
MADE = {
    "lfp.toml",
    "sources.yaml",
    "workspace.yaml",
    ".gitignore",
    "data/inbox",
    ".dagster_home/dagster.yaml",
    ".dagster_home/history/runs.db",
}


def init(*arguments: object) -> object:
    """Return the exit code of `lfp init`."""
    with pytest.raises(SystemExit) as ended:
        main(["init", *map(str, arguments)])
    return ended.value.code


@pytest.fixture(autouse=True)
def no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let settings and the Dagster home come from the current folder only."""
    for name in ("LFP_SETTINGS_FILE", "LFP_SOURCES_FILE", "LFP_DATA_DIR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_an_empty_folder_becomes_a_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init("my shop") == 0
    project = tmp_path / "my shop"
    assert all((project / path).exists() for path in MADE)
    assert capsys.readouterr().err.splitlines() == [
        "Created lfp.toml",
        "Created sources.yaml",
        "Created workspace.yaml",
        "Created .gitignore",
        f"Drop files into {project / 'data' / 'inbox'}. Next: lfp demo, or lfp dev",
    ]
    assert load_settings().data_dir == project / "data"
    with dg.DagsterInstance.from_config(str(project / ".dagster_home")) as instance:
        assert instance.get_runs() == []
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    assert ended.value.code == 0


def test_a_second_time_nothing_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lfp.toml").write_text('data_dir = "products"\n')
    (tmp_path / ".gitignore").write_text("mine\n")
    assert init() == 0
    assert init() == 0
    assert capsys.readouterr().err.splitlines()[5:] == [
        "Kept lfp.toml",
        "Kept sources.yaml",
        "Kept workspace.yaml",
        "Kept .gitignore",
        f"Drop files into {tmp_path / 'products' / 'inbox'}. Next: lfp demo, or lfp dev",
    ]
    assert (tmp_path / "lfp.toml").read_text() == 'data_dir = "products"\n'
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert not (tmp_path / "data").exists()
    assert not list(tmp_path.glob("*.part"))


def test_many_at_once_make_one_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    processes = [start(INIT, project, environment={"DAGSTER_HOME": ""}) for _ in range(5)]
    created = 0
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, messages = process.communicate(timeout=120)
        assert process.returncode == 0, messages
        created += messages.count("Created lfp.toml")
    assert created == 1
    assert all((project / path).exists() for path in MADE)
    assert (project / "lfp.toml").read_text() == settings_template()


def test_a_wrong_settings_file_is_reported_and_nothing_else_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lfp.toml").write_text("thread = 4\n")
    assert init() == 1
    assert "thread is not a setting; did you mean threads?" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["lfp.toml"]


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("DAGSTER_HOME", "missing/home", "missing/home cannot be used: No such file or directory"),
        ("DAGSTER_HOME", "~nosuchuser/x", "DAGSTER_HOME = '~nosuchuser/x': Could not determine"),
        ("LFP_THREADS", "0", "LFP_THREADS = '0': Input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_in_the_environment_is_reported_and_leaves_no_project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    problem: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert init() == 1
    message = capsys.readouterr().err
    assert problem in message
    assert message.count("\n") <= 3
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(variable)
    assert init() == 0


def test_a_file_system_without_hard_links_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_arguments: object, **_options: object) -> None:  # As on vfat.
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    assert init() == 0
    assert Path("lfp.toml").read_text() == settings_template()


def test_the_settings_file_has_every_setting_and_changes_nothing(tmp_path: Path) -> None:
    before = Settings()
    (tmp_path / "lfp.toml").write_text(settings_template())
    project = Settings()
    assert project.data_dir == tmp_path / "data"
    defaults = re.sub(r"(?m)^# (?=\w+ = )", "", settings_template())
    (tmp_path / "lfp.toml").write_text(defaults)
    assert Settings() == project
    same = set(Settings.model_fields) - {"data_dir"}
    assert {name: getattr(before, name) for name in same} == {
        name: getattr(project, name) for name in same
    }
    (tmp_path / "sources.yaml").touch()
    everything = re.sub(r"(?m)^# +(?=\w+ = )", "", settings_template())
    assert tomllib.loads(everything).keys() == Settings.model_fields.keys()
    (tmp_path / "lfp.toml").write_text(everything)
    assert Settings().fallback_encoding == "cp1252"


def test_relative_paths_of_the_settings_file_start_at_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lfp.toml").write_text('data_dir = "products"\nsources_file = "mine.yaml"\n')
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert load_settings().data_dir == tmp_path / "products"
    assert load_settings().sources_path == tmp_path / "mine.yaml"
    monkeypatch.setenv(f"{ENV_PREFIX}DATA_DIR", "here")
    assert load_settings().data_dir == tmp_path / "below" / "here"


@pytest.mark.parametrize("name", ["shop", "a shop 100%", 'the "best" $HOME', r"back\\slash"])
def test_systemd_accepts_the_service_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    python = tmp_path / "a 100% $HOME" / "python"
    python.parent.mkdir()
    shutil.copy("/bin/true", python)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("LFP_DATA_DIR", str(tmp_path / "data"))  # DuckDB takes no backslash.
    monkeypatch.setenv("LFP_COLUMN_ALIASES", '{"sku": ["no\\\\1 100%",\n"$HOME"]}')
    assert init(name, "--systemd") == 0
    services = sorted((tmp_path / name / "systemd").iterdir())
    assert [service.name for service in services] == ["lfp-daemon.service", "lfp-webserver.service"]
    assert verified(services) == (0, "")


def verified(services: Sequence[Path]) -> tuple[int, str]:
    """Return the exit code of systemd's check of service files, and what it says."""
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze is not installed")
    command = [verifier, "verify", *services]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    return checked.returncode, checked.stderr


def test_the_service_files_name_this_installation(tmp_path: Path) -> None:
    assert init("a shop 100%", "--systemd") == 0
    text = (tmp_path / "a shop 100%" / "systemd" / "lfp-daemon.service").read_text()
    project = f"{tmp_path}/a shop 100%%"
    assert f"\nWorkingDirectory={project}\n" in text
    assert f'Environment="DAGSTER_HOME={project}/.dagster_home"' in text
    assert f'\nExecStart=:"{sys.executable}" -m dagster._daemon run\n' in text
    assert "@" not in text.replace("@system", "")


def test_hosts_that_work_together_have_services_of_a_head_and_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp:s3cret@db.example/lfp")
    monkeypatch.setenv("LFP_LAKE", "s3://a-bucket/lake")
    assert init("shop", "--systemd") == 0
    services = sorted((tmp_path / "shop" / "systemd").iterdir())
    assert [service.name for service in services] == ["lfp-head.service", "lfp-worker.service"]
    text = services[1].read_text()
    assert f'\nExecStart=:"{sys.executable}" -m lfp_pipeline worker\n' in text
    assert '"LFP_LAKE=s3://a-bucket/lake"' in text
    assert "s3cret" not in text
    assert "lfp-daemon" not in text
    assert "\nJoinsNamespaceOf=\n" in text
    assert "\nAmbientCapabilities=CAP_LEASE\n" in text
    assert verified(services) == (0, "")


def test_an_inbox_in_a_bucket_needs_no_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFP_CATALOG", "postgresql://lfp@db.example/lfp")
    monkeypatch.setenv("LFP_INBOX", "s3://a-bucket/inbox")
    assert init("shop", "--systemd") == 0
    services = sorted((tmp_path / "shop" / "systemd").iterdir())
    for service in services:
        assert "\nCapabilityBoundingSet=\nAmbientCapabilities=\n" in service.read_text()
    assert verified(services) == (0, "")


def test_the_services_get_the_settings_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("threads = 3\n")
    (tmp_path / "shop").mkdir()
    variables = {
        "LFP_SETTINGS_FILE": "../mine.toml",
        "LFP_DATA_DIR": "../elsewhere",
        "LFP_INBOX_QUIET_SECONDS": "5",
        "LFP_MEMORY_LIMIT": "",
        "LFP_WEBHOOK_URL": "https://chat.example.com/secret",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("shop")
    assert init(".", "--systemd") == 0
    assert f"Drop files into {tmp_path}/elsewhere/inbox." in capsys.readouterr().err
    text = Path("systemd/lfp-webserver.service").read_text()
    (line,) = re.findall(r"(?m)^Environment=(.*)$", text)
    _, *set_here = sorted(shlex.split(line))
    assert set_here == [
        f"LFP_DATA_DIR={tmp_path}/elsewhere",
        "LFP_INBOX_QUIET_SECONDS=5",
        f"LFP_SETTINGS_FILE={tmp_path}/shop/../mine.toml",
    ]
    assert "secret" not in text.replace("# Secrets", "")


def test_a_python_that_systemd_cannot_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/it's/python")
    assert init("shop", "--systemd") == 1
    assert "/it's/python: systemd starts no program with a quote" in capsys.readouterr().err
