"""Processes, as `/proc` shows them."""

from pathlib import Path

_KIB = 1024


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:  # It has ended.
        return []


def proportional_memory_bytes(pid: int) -> int:
    """Return the memory of a process; a page that several processes share counts in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # It has ended.
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("Pss:"))
