"""The processes of a `dagster dev`, by their command lines, and what they use."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import parent, tree

_RUN_SERVER = b"-m lfp_pipeline.dagster_support.run_server"

SERVERS = {
    "dagster dev": b"-m dagster dev",
    "code server": b"-m dagster code-server",
    "code server, grpc": b"-m dagster api grpc",
    "webserver": b"-m dagster_webserver",
    "daemon": b"-m dagster._daemon",
    "run server": _RUN_SERVER,
}
"""The text that marks the command line of each server."""

_PROC = Path("/proc")
_KIB = 1024


@dataclass(frozen=True)
class Usage:
    """What a process uses: memory in bytes (RSS, and PSS, which divides shared pages), and more."""

    pid: int
    rss: int
    pss: int
    files: int
    threads: int


def usages(root: int) -> dict[str, Usage]:
    """Return what each server uses in the tree of a process, itself included."""
    found: dict[str, Usage] = {}
    for pid, command in _commands(root):  # Parents come first: the run server before its runs.
        for name, mark in SERVERS.items():
            if mark in command and name not in found:
                with suppress(OSError):  # It has ended.
                    found[name] = _usage(pid)
    return found


def run_workers(root: int) -> list[int]:
    """Return the processes that execute runs, which the run server has forked."""
    servers = {pid for pid, command in _commands(root) if _RUN_SERVER in command}
    return [pid for pid in servers if parent(pid) in servers]


def _commands(root: int) -> Iterator[tuple[int, bytes]]:
    for pid in tree(root):
        try:
            yield pid, (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # It has ended.
            continue


def _usage(pid: int) -> Usage:
    process = _PROC / str(pid)
    fields = defaultdict(int)
    for part in ("status", "smaps_rollup"):
        for line in (process / part).read_text().splitlines():
            name, _, value = line.partition(":")
            if value.strip().removesuffix(" kB").isdigit():
                fields[name] = int(value.removesuffix(" kB"))
    files = len(list((process / "fd").iterdir()))
    return Usage(pid, fields["VmRSS"] * _KIB, fields["Pss"] * _KIB, files, fields["Threads"])
