"""Lives through random histories, several at once, and tells what was done in them.

Where something is not as the oracle tells, the history is printed, without what can be left out.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from verification.histories.campaign import lived

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (nothing in it is to last)
_TOLD_EVERY_SECONDS = 60


def main() -> int:
    """Live; the exit code tells whether there was no difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--seed", type=int, help="another one each time, if it is not given")
    parser.add_argument("--first", type=int, default=0, help="the number of the first history")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="where data folders are made; else in memory")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    in_memory = _IN_MEMORY if _IN_MEMORY.is_dir() else Path(tempfile.gettempdir())
    folder = arguments.folder or in_memory
    print(f"Seed {seed}", flush=True)
    started = told = time.monotonic()
    total, differences = Counter[str](), 0
    work = lived(seed, arguments.first, arguments.batches, arguments.processes, folder)
    for history in work:
        total += history.done
        if history.wrong:
            differences += 1
            print(f"\nDIFFERENCE {history.wrong}\n", flush=True)
        if time.monotonic() > told + _TOLD_EVERY_SECONDS:
            told = time.monotonic()
            print(_line(total, differences, told - started), flush=True)
    print("\n".join(_table(total)))
    print(_line(total, differences, time.monotonic() - started))
    return 1 if differences else 0


def _table(total: Counter[str]) -> list[str]:
    """The batches by what was done, in Markdown."""
    kinds = sorted({what.partition(", ")[0] for what in total})
    ends = sorted({what.partition(", ")[2] for what in total})
    lines = [f"| done | {' | '.join(end or 'to the end' for end in ends)} |"]
    lines.append(f"|---|{'---:|' * len(ends)}")
    for kind in kinds:
        figures = (total[f"{kind}, {end}" if end else kind] for end in ends)
        lines.append(f"| {kind} | {' | '.join(f'{figure:,}' for figure in figures)} |")
    return lines


def _line(total: Counter[str], differences: int, seconds: float) -> str:
    return (
        f"{total.total():,} random batches against the oracle in {seconds:,.0f} s: "
        f"{differences} differences"
    )


if __name__ == "__main__":
    sys.exit(main())
