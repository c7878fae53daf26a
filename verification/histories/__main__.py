"""Runs random histories, several at once, and prints what was done in them.

Where a history differs from the reference model, it is printed, without the batches that can be
left out.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from verification.histories.campaign import run_histories
from verification.histories.lakes import running_servers

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (nothing in it has to last)
_PROGRESS_SECONDS = 60


def main() -> int:
    """Run; return 1 if there was a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: drawn")
    parser.add_argument("--first", type=int, default=0, help="the number of the first history")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="for data folders; default: in memory")
    parser.add_argument("--lake", action="store_true", help="a lake instead of a database file")
    arguments = parser.parse_args()
    in_memory = _IN_MEMORY if _IN_MEMORY.is_dir() else Path(tempfile.gettempdir())
    folder = arguments.folder or in_memory
    print(f"Seed {arguments.seed}", flush=True)
    started = shown = time.monotonic()
    total, differences = Counter[str](), 0
    numbers = arguments.first, arguments.batches, arguments.processes
    with running_servers(in_memory) if arguments.lake else nullcontext() as lakes:
        for history in run_histories(arguments.seed, *numbers, folder, lakes):
            total += history.done
            if history.difference:
                differences += 1
                print(f"\nDIFFERENCE {history.difference}\n", flush=True)
            if time.monotonic() > shown + _PROGRESS_SECONDS:
                shown = time.monotonic()
                print(_line(total, differences, shown - started), flush=True)
    print("\n".join(_table(total)))
    print(_line(total, differences, time.monotonic() - started))
    return 1 if differences else 0


def _table(total: Counter[str]) -> list[str]:
    """Return the batches by what was done, in Markdown."""
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
