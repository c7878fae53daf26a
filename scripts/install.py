"""Install locked packages and this project into an environment: `python -m scripts.install`.

uv installs, several times as fast as pip: the uv of the PATH, or one that pip puts into the
environment. Where uv is not to be had, or fails, pip installs. Both check the hashes of the locks.
uv reads no configuration of pip, so this program passes it on: indexes, certificates, proxies. If
something is configured that it cannot pass on, pip installs.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

_UV_LOCK = Path(__file__).parents[1] / "requirements-uv.lock"

_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""The variable of uv that means the same, by the name of pip's option."""

_NO_INDEX = "no-index"
"""For this option of pip, uv has an option of that name and no variable."""

_TRUE = {"1", "on", "t", "true", "y", "yes"}

_IRRELEVANT = {
    "break-system-packages",
    "cache-dir",
    "compile",
    "config-file",  # Its options are listed.
    "constraint",  # A lock has exact versions.
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-compile",
    "no-input",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "require-hashes",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "upgrade-strategy",
    "user",  # pip itself ignores it in an environment.
    "verbose",
}
"""Options of pip that do not change what is installed from a lock."""


_NO_NEWS = ["--disable-pip-version-check"]


class Environment:
    """A virtual environment, and the commands that install into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.python = self.folder / "bin" / "python"

    def create(self) -> None:
        """Create the environment, unless it exists; without pip, which would take seconds.

        An environment of another version of Python, or of one that is gone, is emptied first.
        """
        if self._version() != list(sys.version_info[:2]):
            is_environment = (self.folder / "pyvenv.cfg").exists()  # Else, it may be a user's.
            venv.create(self.folder, symlinks=True, clear=is_environment)

    def pip(self) -> list[str]:
        """Return the command of a pip that installs into the environment."""
        if find_spec("pip"):
            return [sys.executable, "-m", "pip", *_NO_NEWS, "--python", str(self.python)]
        if not self._has_pip():
            command = [str(self.python), "-m", "ensurepip", "--default-pip"]
            subprocess.run(command, check=True)  # noqa: S603
        return [str(self.python), "-m", "pip", *_NO_NEWS]

    def uv(self) -> str | None:
        """Return the path of uv, which pip installs if there is none; None if that fails."""
        own = self.folder / "bin" / "uv"
        if found := shutil.which("uv"):
            return found
        if own.exists():
            return str(own)
        print("Installing uv ...", flush=True)
        # No source distribution: building one takes a Rust compiler, and minutes.
        options = ["--quiet", "--only-binary", ":all:", "--require-hashes", "-r", str(_UV_LOCK)]
        return str(own) if _succeeds([*self.pip(), "install", *options]) else None

    def missing_pip(self) -> list[str]:
        """Return the wheel of pip that Python brings, for `pip install` by people."""
        spec = find_spec("ensurepip")
        if spec is None or spec.origin is None or self._has_pip():
            return []
        return [str(wheel) for wheel in Path(spec.origin).parent.glob("_bundled/pip-*.whl")]

    def _version(self) -> list[int] | None:
        command = [str(self.python), "-c", "import sys; print(*sys.version_info[:2])"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            return None
        return [int(number) for number in asked.stdout.split()]

    def _has_pip(self) -> bool:
        return any(self.folder.glob("lib/*/site-packages/pip"))


def install(environment: Environment, locks: Sequence[Path], project: Path) -> str:
    """Install the packages of lock files, and the project in its folder.

    Returns:
        The name of the program that installed them.

    Raises:
        subprocess.CalledProcessError: neither uv nor pip could.
    """
    hashed = ["--require-hashes", *(option for lock in locks for option in ("-r", str(lock)))]
    own = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(project)]
    configured = pip_options(environment)
    variables = None if configured is None else uv_variables(configured)
    if configured is not None and variables is not None and (uv := environment.uv()):
        no_index = ["--no-index"] if configured.get(_NO_INDEX, "").lower() in _TRUE else []
        command = [uv, "pip", "install", *no_index, "--python", str(environment.python)]
        # As pip does. Else, where Python writes no bytecode, each process would compile all.
        steps = ["--compile-bytecode", *hashed], [*own, *environment.missing_pip()]
        if all(_succeeds([*command, *options], variables) for options in steps):
            return "uv"
        print("uv failed: installing with pip, which takes longer.", flush=True)
    for options in (hashed, own):
        command = [*environment.pip(), "install", *options]
        if not _succeeds(command):
            raise subprocess.CalledProcessError(1, command)
    return "pip"


def pip_options(environment: Environment) -> dict[str, str] | None:
    """Return the options that pip is configured to install with; None if pip cannot list them."""
    try:
        pip = environment.pip()
    except subprocess.CalledProcessError:
        return {}  # There is no pip, and Python brings none: uv alone can install.
    command = [*pip, "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return configured_options(listed.stdout) if listed.returncode == 0 else None


def uv_variables(options: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment in which uv installs as pip with options; None if there is none."""
    if unknown := sorted(options.keys() - _VARIABLES.keys() - _IRRELEVANT - {_NO_INDEX}):
        print(f"pip's configuration has {', '.join(unknown)}: installing with pip.", flush=True)
        return None
    variables = {
        # pip takes a version from any index; by default, uv asks only the first with the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        **{_VARIABLES[name]: value for name, value in options.items() if name in _VARIABLES},
    }
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = ",".join(variables["UV_FIND_LINKS"].split())
    chosen = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    return {**os.environ, **variables, **chosen}


def configured_options(listed: str) -> dict[str, str]:
    """Return what `pip config list` says of `pip install`: each option, with its value."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for section, option, value in re.findall(r"(?m)^([\w:]+)\.([\w-]+)=(['\"].*)$", listed):
        if section in sections:
            words = " ".join(ast.literal_eval(value).split())
            sections[section][option.replace("_", "-")] = words
    return sections["global"] | sections["install"] | sections[":env:"]


def _succeeds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    """Run uv or pip, and show its progress without a line for each package.

    Warnings of pip, of its caches and indexes, are shown only if it fails.
    """
    warnings = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stderr is not None  # noqa: S101 (it is a pipe)
        for line in process.stderr:
            if line.startswith("WARNING: "):
                warnings.append(line)
            elif not line.startswith((" + ", " - ", " ~ ")):
                print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        print(*warnings, sep="", end="", file=sys.stderr, flush=True)
    return process.returncode == 0


def main() -> int:
    """Install, and print how many packages; return 1 if that failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the environment")
    parser.add_argument("locks", type=Path, nargs="+", help="lock files with hashes")
    arguments = parser.parse_args()
    started = time.monotonic()
    environment = Environment(arguments.folder)
    names = ", ".join(map(str, arguments.locks))
    count = _count(arguments.locks)
    print(f"Installing {count} packages of {names} into {arguments.folder} ...", flush=True)
    try:
        environment.create()
        program = install(environment, arguments.locks, Path(__file__).parents[1])
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"The installation into {arguments.folder} failed: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    print(f"Installed into {arguments.folder} with {program} in {seconds:.0f} s", flush=True)
    return 0


def _count(locks: Sequence[Path]) -> int:
    lines = (line for lock in locks for line in lock.read_text().splitlines() if "==" in line)
    return len({line.split("==")[0] for line in lines if "sys_platform == 'win32'" not in line})


if __name__ == "__main__":
    sys.exit(main())
