"""Continuous integration shows the results of the checks and of the tests, whichever fail."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testing.processes import PROJECT

MAKEFILE = """
ready-dev ready-cluster: ; @echo installed; exit {installed}
test: ; @echo tested; exit {tested}
test-cluster: ; @echo tested on several hosts
hosts: ; @echo disturbed
check: ; @sleep 0.5; echo checked >&2; exit {checked}
"""


@pytest.mark.parametrize(("tested", "checked"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_both_results_are_shown(tmp_path: Path, tested: int, checked: int) -> None:
    ended = run(tmp_path, installed=0, tested=tested, checked=checked)
    *_, codes = ended.stdout.splitlines()
    assert "tested\n" in ended.stdout
    assert "tested on several hosts\n" in ended.stdout
    assert "checked" in ended.stdout
    results = f"of the tests: {2 * tested}, of the checks: {2 * checked}, of the host bench: 0"
    assert codes == f"Exit code {results}"
    assert (ended.returncode != 0) == (tested or checked)


def test_without_an_installation_nothing_is_tested(tmp_path: Path) -> None:
    ended = run(tmp_path, installed=1, tested=0, checked=0)
    assert (ended.returncode != 0, "tested" in ended.stdout) == (True, False)


def run(folder: Path, **codes: int) -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci" / "run", folder / ".ci")
    (folder / "Makefile").write_text(MAKEFILE.format(**codes))
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        [folder / ".ci" / "run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
