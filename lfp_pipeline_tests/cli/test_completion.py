"""Completion of names, in a real bash."""

import os
import pty
import shutil
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.revert import revert_delivery
from testing.command_line import CommandLine
from testing.dagster_project import HEADER, NO_SKU, drop
from testing.engine import LOG
from testing.shop import ingest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("bash"), reason="this machine has no bash"),
]

ODD = (
    *("my shop.csv", "it's.csv", 'a "b".csv', "$HOME.csv", "d$HOME.csv"),
    *("st*r.csv", "back\\slash.csv", "ä,ö.csv"),
)

_BASH = r"""
PATH="$PWD/bin:$PATH"
eval "$(_LFP_COMPLETE=bash_source lfp)"
lfp() { printf '<%s>' "$@" >> typed; echo >> typed; }
"""


@pytest.fixture
def typed(lfp: CommandLine) -> "Bash":
    for number, name in enumerate([*ODD, "gone.csv", "plain.csv"], 1):
        drop(lfp.data / "inbox", name, f"{HEADER}s{number},Ann,x\n", number * 1_000_000)
    rejects = f"{HEADER},Nobody,x\n" + "".join(f"r{number},Ann,x\n" for number in range(20))
    drop(lfp.data / "inbox", "half.csv", rejects)
    drop(lfp.data / "inbox", "other half.csv", f"{rejects}\n")
    drop(lfp.data / "inbox", "bad one.csv", NO_SKU)
    drop(lfp.data / "inbox", "bad two.csv", f"{NO_SKU}x\n")
    ingest(lfp.engine)
    found = {each.source.rpartition("/")[2]: each for each in lfp.engine.raw_zone.all_deliveries()}
    revert_delivery(lfp.engine, found["gone.csv"].delivery_id, LOG)
    for name in ("bad two.csv", "other half.csv"):
        dismiss_delivery(lfp.engine, found[name].delivery_id, LOG)
    return Bash(lfp)


class Bash:
    """An interactive bash, which records the arguments of `lfp` instead of running it."""

    def __init__(self, lfp: CommandLine) -> None:
        self._lfp = lfp
        (lfp.folder / "bin").mkdir()
        program = lfp.folder / "bin" / "lfp"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lfp_pipeline "$@"\n')
        program.chmod(0o755)
        (lfp.folder / "rc").write_text(_BASH)

    def __call__(self, *lines: str) -> list[str]:
        """Type lines, with tabs; return the arguments of each command."""
        terminal, its_end = pty.openpty()
        process = subprocess.Popen(
            ["bash", "--noprofile", "--rcfile", "rc", "-i"],
            env={**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8"},
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
        )
        os.close(its_end)
        deadline = threading.Timer(60, process.kill)
        deadline.start()
        os.write(terminal, "".join(f"{line}\n" for line in (*lines, "exit")).encode())
        shown = b""
        with suppress(OSError):  # bash has ended.
            while chunk := os.read(terminal, 1 << 16):
                shown += chunk
        os.close(terminal)
        process.wait()
        deadline.cancel()
        typed = self._lfp.folder / "typed"
        assert typed.exists(), shown.decode()
        return typed.read_text().splitlines()


def test_names_are_quoted_and_those_of_the_command_are_offered(typed: "Bash"):
    lines = {
        "lfp revert my\t": "<revert><my shop.csv>",
        "lfp revert it\t": "<revert><it's.csv>",
        "lfp revert a\t": '<revert><a "b".csv>',
        "lfp revert \\$\t": "<revert><$HOME.csv>",
        "lfp revert d\t": "<revert><d$HOME.csv>",
        "lfp revert st\t": "<revert><st*r.csv>",
        "lfp revert back\t": "<revert><back\\slash.csv>",
        "lfp revert ä\t": "<revert><ä,ö.csv>",
        "lfp revert 'my s\t": "<revert><my shop.csv>",
        "lfp revert pl\t": "<revert><plain.csv>",
        "lfp reinstate g\t": "<reinstate><gone.csv>",
        "lfp revert g\t": "<revert><g>",
        "lfp dismiss bad\t": "<dismiss><bad one.csv>",
        "lfp dismiss pl\t": "<dismiss><pl>",
        "lfp dismiss h\t": "<dismiss><half.csv>",
        "lfp dismiss ot\t": "<dismiss><ot>",
        "lfp reinstate ot\t": "<reinstate><other half.csv>",
        "lfp deliveries bad\\ t\t": "<deliveries><bad two.csv>",
        "lfp reins\t": "<reinstate>",
    }
    assert typed(*lines) == list(lines.values())


def test_a_name_that_looks_like_an_option_gets_two_dashes_before_it(lfp: CommandLine):
    drop(lfp.data / "inbox", "-my shop.csv", f"{HEADER}s1,Ann,x\n")
    ingest(lfp.engine)
    lines = ("lfp revert \t", "lfp revert -- \t", "lfp revert -- -m\t", "lfp revert --dr\t -- \t")
    name = "<--><-my shop.csv>"
    assert Bash(lfp)(*lines) == [f"<revert>{name}"] * 3 + [f"<revert><--dry-run>{name}"]
