"""The console blocks of the pages: runs their commands, and compares outputs but for what varies.

A block is a `console` block of Markdown; in it, lines that begin with `$ ` are commands, and `> `
continues one.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ .*\n(?:> .*\n)*", re.MULTILINE)
_PROMPT = "$ "

_NOISE = re.compile(r"nanobind: |See https://nanobind| - (leaked|\.\.\.) ")
"""What DuckDB's Python module may print when its process ends."""

_LFP = """\
#!/bin/sh
exec {python} -m lfp_pipeline "$@"
"""

_VARYING = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?": "TIME",
    r"\d{8}T\d{6}(\.\d{6}Z(.[0-9a-f]{16})?)?": "VERSION",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "RUN",
    r"\d[\d,]*(\.\d+)? ?([KMG]?B|s|ms|min|h|days)\b": "AMOUNT",
    r"\d+\.\d+": "NUMBER",
    r'"(free_bytes|database|published_copy|raw_zone)": \d+': "BYTES",
    r"(parquet|csv|size bytes): [\d,]+": "BYTES",
    r" {2,}": "  ",
}
"""Patterns of what differs from run to run, and what takes its place in a comparison."""


def run_page(page: str, run: Callable[[str], str]) -> str:
    """Return a page with the present output of each of its commands."""
    return _BLOCK.sub(lambda block: _run_block(block[0], run), page)


def _run_block(block: str, run: Callable[[str], str]) -> str:
    output = ""
    for command in _COMMAND.findall(block):
        lines = [line[len(_PROMPT) :] for line in command.splitlines()]
        output += command + run("\n".join(lines))
    return output


def commands(page: str) -> list[str]:
    """Return the first line of each command of a page, without the prompt."""
    found = (command for block in _BLOCK.findall(page) for command in _COMMAND.findall(block))
    return [command.splitlines()[0].removeprefix(_PROMPT) for command in found]


def comparable(page: str) -> str:
    """Return a page without what differs from run to run."""
    for pattern, name in _VARYING.items():
        page = re.sub(pattern, name, page)
    return page


def write_lfp(folder: Path) -> None:
    """Write the command `lfp` of this environment into a folder of commands."""
    command = folder / "lfp"
    command.write_text(_LFP.format(python=sys.executable))
    command.chmod(0o755)


def run_command(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command in a folder, and return what it prints; the folder above shows as `~`."""
    process = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = process.stdout.replace(str(folder.parent), "~").expandtabs()
    lines = [line.rstrip() for line in output.splitlines() if not _NOISE.match(line)]
    return "\n".join(lines).rstrip() + "\n" if any(lines) else ""
