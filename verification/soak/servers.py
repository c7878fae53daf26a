"""The processes of a `dagster dev`, by their command lines, and what they use."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import tree

SERVERS = {
    "dagster dev": b"-m dagster dev",
    "code server": b"-m dagster code-server",
    "code server, grpc": b"-m dagster api grpc",
    "webserver": b"-m dagster_webserver",
    "daemon": b"-m dagster._daemon",
}
"""The text that marks the command line of each server."""

_RUN_WORKER = b"multiprocessing.spawn"
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
    found = {}
    for pid, command in _commands(root):
        for name, mark in SERVERS.items():
            if mark in command:
                with suppress(OSError):  # It has ended.
                    found[name] = _usage(pid)
    return found


def run_workers(root: int) -> list[int]:
    """Return the processes that execute runs, which the code server has spawned."""
    return [pid for pid, command in _commands(root) if _RUN_WORKER in command]


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
