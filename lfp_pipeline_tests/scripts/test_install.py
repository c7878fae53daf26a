"""Locked packages are installed by uv or by pip, from where pip is configured to look."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scripts.install import Environment, configured_options, install, pip_options, uv_variables
from testing.processes import PROJECT, finish, start

pytestmark = pytest.mark.slow  # Each starts processes.

BACKEND = """
import pathlib, sys
sys.path.append(str(pathlib.Path(__file__).parent))
from wheels import write_wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    write_wheel(pathlib.Path(folder), "ours", "ours.pth", str(pathlib.Path(__file__).parent))
    return "ours-1.0-py3-none-any.whl"
build_wheel = build_editable
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "ours"
version = "1.0"
"""
WHEELS = """
import zipfile
METADATA = "Metadata-Version: 2.1\\nName: {}\\nVersion: 1.0\\n"
WHEEL = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
def write_wheel(folder, name, file, content):
    info = f"{name}-1.0.dist-info"
    files = {file: content, f"{info}/METADATA": METADATA.format(name), f"{info}/WHEEL": WHEEL}
    record = "".join(f"{file},,\\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for file, content in [*files.items(), (f"{info}/RECORD", record)]:
            wheel.writestr(file, content)
"""


@dataclass
class Machine:
    """A machine whose pip finds packages in one folder only, and a project with a lock file."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def configure_pip(self, text: str) -> None:
        (self.folder / "pip.conf").write_text(text)
        self.monkeypatch.setenv("PIP_CONFIG_FILE", str(self.folder / "pip.conf"))

    def use_uv(self, path: str | None) -> None:
        """Let this file, or nothing, be the uv of the PATH."""
        programs = self.folder / "programs"
        programs.mkdir()
        if path:
            (programs / "uv").symlink_to(path)
        self.monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def install(self) -> str:
        environment = Environment(self.folder / "my environment")
        environment.create()
        return install(environment, [self.folder / "lock"], self.folder / "project")

    def uv_variables(self) -> dict[str, str]:
        environment = Environment(self.folder / "my environment")
        environment.create()
        options = pip_options(environment)
        assert options is not None
        variables = uv_variables(options)
        assert variables is not None
        return variables

    def imports(self) -> str:
        code = "import tiny, importlib.metadata as m; print(tiny.VALUE, m.version('ours'))"
        python = self.folder / "my environment" / "bin" / "python"
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True
        ).stdout


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    for folder in ("links", "project", "home"):
        (tmp_path / folder).mkdir()
    scope: dict[str, Any] = {}
    exec(WHEELS, scope)  # noqa: S102 (our own text)
    scope["write_wheel"](tmp_path / "links", "tiny", "tiny.py", "VALUE = 7")
    for name, text in (
        ("backend.py", BACKEND),
        ("wheels.py", WHEELS),
        ("pyproject.toml", PYPROJECT),
    ):
        (tmp_path / "project" / name).write_text(text)
    digest = hashlib.sha256((tmp_path / "links" / "tiny-1.0-py3-none-any.whl").read_bytes())
    (tmp_path / "lock").write_text(f"tiny==1.0 --hash=sha256:{digest.hexdigest()}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    machine = Machine(tmp_path, monkeypatch)
    machine.configure_pip(f"[global]\nno-index = true\nfind-links = {tmp_path / 'links'}\n")
    return machine


def real_uv() -> str:
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.prefix) / "bin"))
    if found is None:
        pytest.skip("uv is not installed: `make setup` installs it")
    return found


def test_uv_installs_from_where_pip_is_configured_to_look(machine: Machine) -> None:
    machine.use_uv(real_uv())
    assert machine.install() == "uv"
    assert machine.imports() == "7 1.0\n"
    assert (machine.folder / "my environment" / "bin" / "pip").exists()
    assert list((machine.folder / "my environment").rglob("tiny.*.pyc"))
    assert machine.install() == "uv"  # Again, into the same environment.


def test_pip_installs_where_uv_is_not_to_be_had(machine: Machine) -> None:
    machine.use_uv(None)  # And the folder of packages has none.
    assert machine.install() == "pip"
    assert machine.imports() == "7 1.0\n"


def test_pip_installs_where_uv_fails(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.use_uv("/bin/false")
    assert machine.install() == "pip"
    assert "uv failed: installing with pip" in capfd.readouterr().out
    assert machine.imports() == "7 1.0\n"


def test_warnings_of_pip_are_shown_only_if_it_fails(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.use_uv("/bin/false")
    links, missing = machine.folder / "links", machine.folder / "missing"
    machine.configure_pip(f"[global]\nno-index = true\nfind-links = {links} {missing}\n")
    assert machine.install() == "pip"
    assert "WARNING" not in capfd.readouterr().err
    shutil.rmtree(machine.folder / "my environment")
    (links / "tiny-1.0-py3-none-any.whl").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        machine.install()
    shown = capfd.readouterr().err
    assert "WARNING: Location" in shown
    assert str(missing) in shown
    assert "No matching distribution found for tiny==1.0" in shown


@pytest.mark.parametrize("program", ["uv", "pip"])
def test_a_file_with_another_hash_is_not_installed(machine: Machine, program: str) -> None:
    machine.use_uv(real_uv() if program == "uv" else None)
    with zipfile.ZipFile(machine.folder / "links" / "tiny-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("more.py", "")
    with pytest.raises(subprocess.CalledProcessError):
        machine.install()
    assert not list((machine.folder / "my environment").glob("lib/*/site-packages/tiny*"))


def test_every_place_of_pip_is_passed_on_to_uv(machine: Machine) -> None:
    machine.configure_pip(
        "[global]\n"
        "index-url = https://one.example/packages\n"
        "extra-index-url =\n  https://two.example/packages\n  https://three.example/packages\n"
        "find-links = /one\n  /two\n"
        "cert = /certificates.pem\n"
        "timeout = 7\n"
        "constraint = /constraints.txt\n"
        "[install]\n"
        "trusted-host = one.example two.example\n"
        "[download]\n"
        "no-index = true\n"
    )
    machine.monkeypatch.setenv("PIP_INDEX_URL", "https://nearer.example/packages")
    variables = machine.uv_variables()
    passed_on = {name: value for name, value in variables.items() if name.startswith("UV_")}
    assert passed_on == {
        "UV_DEFAULT_INDEX": "https://nearer.example/packages",
        "UV_INDEX": "https://two.example/packages https://three.example/packages",
        "UV_FIND_LINKS": "/one,/two",
        "UV_HTTP_TIMEOUT": "7",
        "UV_INSECURE_HOST": "one.example two.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert variables["SSL_CERT_FILE"] == "/certificates.pem"


def test_the_variables_of_uv_win(machine: Machine) -> None:
    machine.configure_pip("[global]\nindex-url = https://one.example/packages\n")
    machine.monkeypatch.setenv("UV_DEFAULT_INDEX", "https://two.example/packages")
    variables = machine.uv_variables()
    assert variables["UV_DEFAULT_INDEX"] == "https://two.example/packages"


def test_with_an_option_that_uv_lacks_pip_installs(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.use_uv(real_uv())
    machine.monkeypatch.setenv("PIP_KEYRING_PROVIDER", "disabled")
    assert machine.install() == "pip"
    assert "pip's configuration has keyring-provider" in capfd.readouterr().out
    assert machine.imports() == "7 1.0\n"


def test_lines_that_are_no_options_are_skipped() -> None:
    listed = "WARNING: something = 'else'\nlist.format='json'\nglobal.no-index='true'\n\n"
    assert configured_options(listed) == {"no-index": "true"}


@contextmanager
def index(folder: Path) -> Iterator[str]:
    """Serve an index of packages, whose links are files of a folder, for the block."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    page = folder / "packages" / "tiny"
    page.mkdir(parents=True)
    wheel = "tiny-1.0-py3-none-any.whl"
    shutil.move(folder / "links" / wheel, page)
    (page / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel}">{wheel}</a>')
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/packages"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("source", ["file", "variable"])
def test_without_an_index_only_files_are_installed(machine: Machine, source: str) -> None:
    machine.use_uv(real_uv())
    with index(machine.folder) as url:
        configuration = f"[global]\nindex-url = {url}\ntrusted-host = 127.0.0.1\n"
        machine.configure_pip(configuration + "no-index = false\n")
        assert machine.install() == "uv"
        assert machine.imports() == "7 1.0\n"
        shutil.rmtree(machine.folder / "my environment")
        if source == "file":
            machine.configure_pip(configuration + "no-index = yes\n")
        else:
            machine.monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(subprocess.CalledProcessError):
            machine.install()


INSTALL = """
import sys
from pathlib import Path
from scripts.install import Environment, install
folder = Path(sys.argv[1])
environment = Environment(folder / "my environment")
environment.create()
print(install(environment, [folder / "lock"], folder / "project"))
"""


def test_a_python_without_pip_installs_as_pip_is_configured(machine: Machine) -> None:
    machine.use_uv(real_uv())
    bare = machine.folder / "bare"
    venv.create(bare, symlinks=True)
    machine.monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    *_, program = finish([start(INSTALL, machine.folder)])[0].splitlines()
    assert program == "uv"
    assert machine.imports() == "7 1.0\n"


def test_pip_installs_if_it_cannot_list_its_configuration(machine: Machine) -> None:
    machine.use_uv(real_uv())
    broken = machine.folder / "broken" / "pip"
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()
    (broken / "__main__.py").write_text(
        "import os, sys\n"
        "if 'config' in sys.argv: sys.exit(1)\n"
        "del os.environ['PYTHONPATH']\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pip', *sys.argv[1:]])\n"
    )
    machine.monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    assert machine.install() == "pip"


@pytest.mark.parametrize("fault", ["gone", "another version"])
def test_an_environment_of_another_python_is_created_again(machine: Machine, fault: str) -> None:
    machine.use_uv(None)
    environment = Environment(machine.folder / "my environment")
    environment.create()
    stale = environment.folder / "stale"
    stale.touch()
    environment.create()
    assert stale.exists()
    environment.python.unlink()
    if fault == "gone":
        environment.python.symlink_to("/nowhere/python3")
    else:
        environment.python.write_text("#!/bin/sh\necho 3 9\n")
        environment.python.chmod(0o755)
    assert machine.install() == "pip"
    assert machine.imports() == "7 1.0\n"
    assert not stale.exists()


def test_a_folder_that_is_no_environment_keeps_its_files(machine: Machine) -> None:
    (machine.folder / "my environment").mkdir()
    mine = machine.folder / "my environment" / "mine"
    mine.touch()
    assert machine.install() in {"pip", "uv"}
    assert mine.exists()


def test_make_installs_again_if_the_python_of_the_environment_is_gone(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    for name in ("requirements.lock", "requirements-uv.lock", "pyproject.toml"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / ".venv" / "installed").touch()
    command = ["make", "--dry-run", ".venv/installed"]

    def commands() -> str:
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "scripts.install" not in commands()
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert "scripts.install" in commands()
