"""Runs several hosts on one machine, disturbs them in all ways, and checks what they leave.

As root, each host has namespaces of its own, and a cable that can be cut. Elsewhere, all hosts are
on loopback, and what needs cables is left out.
"""

import argparse
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from verification.hosts import (
    fault_round,
    lost_round,
    readers_round,
    result_round,
    throughput_round,
    together_round,
    zombie_round,
)
from verification.hosts.bench import Bench, bench, missing_programs
from verification.hosts.network import missing_permission
from verification.hosts.report import Options, Report

_ROUNDS: Mapping[str, tuple[Callable[[Bench, Options], Report], int]] = {
    "result": (result_round.run, 200),
    "lost": (lost_round.run, 40),
    "zombie": (zombie_round.run, 16),
    "together": (together_round.run, 50),
    "faults": (fault_round.run, 300),
    "throughput": (throughput_round.run, 1000),
    "readers": (readers_round.run, 1),
}
"""Each round, and how often it repeats what it does."""

_INSIDE = "BENCH_IN_NAMESPACE"


def main() -> int:
    """Run; return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", default="all", help=f"all, or of {', '.join(_ROUNDS)}")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: drawn")
    parser.add_argument("--minutes", type=float, default=10, help="of rounds that last for a time")
    parser.add_argument("--times", type=int, help="of rounds that repeat; default: each its own")
    parser.add_argument("--first", type=int, default=0, help="the number of the first lake")
    parser.add_argument("--without-fence", action="store_true", help="must find violations")
    parser.add_argument("--folder", type=Path, help="a new folder, kept; default: a temporary one")
    parser.add_argument("--loopback", action="store_true", help="use no namespaces")
    given = parser.parse_args()
    if missing := missing_programs():
        sys.exit(f"The bench cannot run here: {missing}")
    why_loopback = "--loopback" if given.loopback else _enter_namespace()
    if why_loopback:
        _show(f"No namespaces ({why_loopback}): all hosts are on loopback, and no link is cut")
    print(f"Seed {given.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    folder = given.folder or Path(mkdtemp(prefix="lfp-hosts-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # The user of PostgreSQL enters it.
    has_violations = False
    try:
        with bench(folder.resolve(), has_cables=not why_loopback) as hosts:
            for name in _ROUNDS if given.what == "all" else given.what.split(","):
                run, times = _ROUNDS[name]
                options = Options(
                    given.seed,
                    given.minutes,
                    given.times or times,
                    given.first,
                    _show,
                    fence=not given.without_fence,
                )
                report = run(hosts, options)
                has_violations |= bool(report.violations)
                print("\n".join([f"\n## {name}", *report.lines, ""]), flush=True)
                for violation in report.violations:
                    print(f"VIOLATED {violation}\n", flush=True)
    finally:
        if not given.folder and not has_violations:
            shutil.rmtree(folder, ignore_errors=True)
    return int(has_violations)


def _enter_namespace() -> str | None:
    """Run this program again in a network namespace of its own; return why that is not possible."""
    if os.environ.pop(_INSIDE, None):
        return None
    if why := missing_permission():
        return why
    command = ["unshare", "--net", "--", sys.executable, *sys.orig_argv[1:]]
    return os.execvpe(command[0], command, os.environ | {_INSIDE: "1"})  # noqa: S606


def _show(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
