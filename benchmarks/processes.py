"""The cost of a process and all that it started, from Linux' /proc."""

import os
import resource
import sys
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "stat").exists()
_TICKS = os.sysconf("SC_CLK_TCK")

# Fields of /proc/<pid>/stat, counted from behind the program's name, which may hold anything.
_PARENT = 1
_CPU_TICKS = slice(11, 15)  # utime, stime, and the same of children that ended

# Fields of the first line of /proc/stat: user, nice, system, irq, softirq; idle ones left out.
_BUSY = (1, 2, 3, 6, 7)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all its descendants, running or ended."""
    if not _HAS_PROC:
        usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, -1)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)
    stats = _stats()
    ticks = (sum(map(int, stats[pid][_CPU_TICKS])) for pid in _tree(os.getpid(), stats))
    return sum(ticks) / _TICKS


def machine_cpu_seconds() -> float:
    """Return the CPU seconds of the whole machine, which show how busy others kept it."""
    if not _HAS_PROC:
        return 0.0
    fields = (_PROC / "stat").read_text().split(maxsplit=9)
    return sum(int(fields[index]) for index in _BUSY) / _TICKS


def tree_memory_bytes(root: int) -> int:
    """Return the memory of a process and its descendants; shared pages count once.

    Shared memory is a database server's cache, which each of its processes maps.
    """
    if not _HAS_PROC:
        return 0
    private = shared = 0
    for pid in _tree(root, _stats()):
        fields = _status(pid)
        private += fields["RssAnon"] + fields["RssFile"]
        shared = max(shared, fields["RssShmem"])
    return private + shared


def reset_own_peak() -> None:
    """Reset `own_peak_bytes`, where the system supports that."""
    if _HAS_PROC:
        (_PROC / "self" / "clear_refs").write_text("5")


def own_peak_bytes() -> int:
    """Return the peak memory of this process alone since its start or the last reset."""
    if _HAS_PROC:
        return _status(os.getpid())["VmHWM"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def tree(root: int) -> list[int]:
    """Return the ids of a process and its running descendants, parents first."""
    return _tree(root, _stats()) if _HAS_PROC else []


def parent(pid: int) -> int:
    """Return the id of the parent of a process; 0 for a process that has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[_PARENT])


def _stats() -> dict[int, list[str]]:
    stats = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # The process has ended.
                continue
            stats[int(folder.name)] = text.rpartition(")")[2].split()
    return stats


def _tree(root: int, stats: dict[int, list[str]]) -> list[int]:
    children = defaultdict(list)
    for pid, fields in stats.items():
        children[int(fields[_PARENT])].append(pid)
    found = [root] if root in stats else []
    for pid in found:  # The list grows in the loop.
        found += children[pid]
    return found


def _status(pid: int) -> defaultdict[str, int]:
    """Return the sizes in /proc/<pid>/status, in bytes; none for a process that has ended."""
    sizes: defaultdict[str, int] = defaultdict(int)
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return sizes
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            sizes[name] = int(value[:-3]) * 1024
    return sizes
