"""Runs `dagster dev` under load for a time, and checks that nothing is lost.

Files of many kinds are dropped, shops change, readers read, run workers are killed. At the end, the
tables must be the expected ones, and the memory of the servers must not have grown.
"""

import argparse
import pickle
import secrets
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from verification.soak.campaign import FEEDS, Soak, soak
from verification.soak.expected import problems
from verification.soak.report import memory_trends, report

_KEPT = "soak.pickle"


def main() -> int:
    """Run; return 0 if no row was lost, no reader was refused, and memory stayed flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: drawn")
    parser.add_argument("--folder", type=Path, help="a new folder, kept; default: a temporary one")
    parser.add_argument("--judge", type=Path, help="only judge a kept folder again")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    if given.judge:
        return _judge(pickle.loads((given.judge / _KEPT).read_bytes()))  # noqa: S301 (our own)
    print(f"Seed {given.seed}", flush=True)
    with TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary) / "soak").resolve()
        folder.mkdir(parents=True)
        done = soak(folder, 60 * given.minutes, given.seed, _show)
        (folder / _KEPT).write_bytes(pickle.dumps(done))
        return _judge(done)


def _judge(done: Soak) -> int:
    lost = problems(done.data, done.dropping.versions, FEEDS)
    lost += [f"A reader was {look.problem}" for look in done.looks if look.problem]
    text = report(done, lost)
    (done.folder / "report.md").write_text(text)
    print(text)
    is_flat = all(trend.is_flat for trend in memory_trends(done.samples).values())
    return 0 if is_flat and not lost else 1


def _show(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
