"""Dagster's processes are killed in a burst of files and start again: the tables are exact."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from examples.processes import Dagster, dagster_dev
from lfp_pipeline.settings import Settings
from testing.dagster_project import drop
from testing.engine import assert_invariants_hold, engine_at
from testing.expected_tables import File

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BURST = [
    File(
        f"burst{number}.csv",
        1_000_000 * (1 + number),
        tuple((f"s{n}", f"n{number % 9}", f"{number}") for n in range(number % 7, 3000, 3)),
    )
    for number in range(40)
]

SERVERS = {
    "all": "",
    "daemon": "dagster._daemon",
    "webserver": "dagster_webserver",
    "code server": "code-server|api grpc",
}
"""The text that marks the command of each."""


def kill_and_start_again(folder: Path, command: str, seed: int) -> None:
    random = Random(seed)
    inbox = folder / "data" / "inbox"
    inbox.mkdir(parents=True)
    marks = Settings(data_dir=folder / "data").run_marks_dir
    early, late = BURST[:20], BURST[20:]
    for file in early:
        drop(inbox, file.key, file.content, file.microseconds)
    with dagster_dev(folder, {}, interval=1) as dagster:
        dagster.until(lambda: bool(dagster.notes() or any(marks.glob("*.run"))))
        for file in late:
            drop(inbox, file.key, file.content, file.microseconds)
        time.sleep(random.uniform(0, 4))
        assert kill(dagster, command)
        time.sleep(random.uniform(0, 3))  # The other processes go on without it.
    with dagster_dev(folder, {}, interval=1) as dagster:
        dagster.until(lambda: dagster.notes() == len(BURST))
    assert_invariants_hold(engine_at(folder / "data"), BURST)


def kill(dagster: Dagster, command: str) -> list[int]:
    """Kill the processes of a `dagster dev` whose commands match; return their ids."""
    session = str(dagster.process.pid)
    found = subprocess.run(
        ["pgrep", "--session", session, "--full", command],
        capture_output=True,
        text=True,
        check=True,
    )
    killed = list(map(int, found.stdout.split()))
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return killed


def test_a_restart_after_killing_all_processes_merges_everything(tmp_path: Path) -> None:
    kill_and_start_again(tmp_path, SERVERS["all"], seed=1)


@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("command", list(SERVERS.values())[1:], ids=list(SERVERS)[1:])
def test_a_restart_of_one_killed_server_merges_everything(
    tmp_path: Path, command: str, seed: int
) -> None:
    kill_and_start_again(tmp_path, command, seed)
