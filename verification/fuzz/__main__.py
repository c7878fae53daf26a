"""Tries random cases for some minutes, in a process that may crash, hang or eat memory.

A finding is shrunk, printed, and kept as a file that `--replay` repeats.
"""

import argparse
import faulthandler
import queue
import re
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from math import inf
from pathlib import Path

from verification.fuzz.cases import Case
from verification.fuzz.generate import case_of
from verification.fuzz.judge import judge
from verification.fuzz.shrink import shrunk

CPU_SECONDS = 120
"""The limit of one case. `WALL_SECONDS` finds cases that hang without computing."""

WALL_SECONDS = 900
MEMORY_BYTES = 2 << 30
ADDRESS_BYTES = 12 << 30

FINDINGS = Path(".fuzz")

_PROGRESS_SECONDS = 60
_CASES_OF_A_WORKER = 2_000
_SHRUNK_OF_A_KIND = 2
_KIND_CHARACTERS = 60
_SHOWN_CHARACTERS = 2_000
_NUMBERS = re.compile(r"[0-9a-f]+")  # Digests, too: the rest is alike in findings of a kind.


def main() -> int:
    """Fuzz; return 1 if there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: drawn")
    parser.add_argument("--cases", type=float, default=inf, help="the limit of cases")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--work", action="store_true", help="try cases in this process")
    parser.add_argument("--replay", type=Path, help="the file of a finding")
    parser.add_argument("--findings", type=Path, default=FINDINGS)
    parser.add_argument("--shrink-seconds", type=float, default=100)
    arguments = parser.parse_args()
    if arguments.replay:
        return _replay(arguments.replay)
    if arguments.work:
        return _work(arguments.seed, arguments.first)
    return _Fuzzing(arguments).run(arguments.first)


# In the process that may crash


def _bound() -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # Its signal ends the process.


def _replay(file: Path) -> int:
    _bound()
    print("\n".join(judge(Case.from_json(file.read_text()))))
    return 0


def _work(seed: int, first: int) -> int:
    for number in range(first, first + _CASES_OF_A_WORKER):
        _bound()
        print(f"begin\t{number}", flush=True)
        try:
            outcomes = "\x1f".join(judge(case_of(seed, number)))
        except Exception as error:  # noqa: BLE001 (each is a finding)
            print(f"found\t{number}\t{_one_line(error)}", flush=True)
            continue
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > MEMORY_BYTES:
            print(f"found\t{number}\tMemory: {peak >> 20} MB", flush=True)
            return 0
        print(f"end\t{number}\t{outcomes}", flush=True)
    return 0


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")[:2_000]


# In the process that watches


class _Fuzzing:
    def __init__(self, options: argparse.Namespace) -> None:
        self.seed = options.seed
        self.options = options
        self.started = time.monotonic()
        self.until = self.started + 60 * options.minutes
        self.cases = 0
        self.found = 0
        self.outcomes: Counter[str] = Counter()
        self.shown = self.started
        self.shrinking_seconds = 0.0
        self.kinds: Counter[str] = Counter()

    def run(self, first: int) -> int:
        print(f"Seed {self.seed}", flush=True)
        number = first
        while self._is_on:
            number = self._watch_worker(number)
        self._show()
        for outcome, times in sorted(self.outcomes.items()):
            print(f"{times:>9,} {outcome}")
        return 1 if self.found else 0

    @property
    def _is_on(self) -> bool:
        return time.monotonic() < self.until and self.cases < self.options.cases

    def _watch_worker(self, first: int) -> int:
        """Watch a process that tries cases; return the number of the next case."""
        command = [sys.executable, "-m", "verification.fuzz", "--work"]
        command += ["--seed", str(self.seed), "--first", str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            lines: queue.Queue[str] = queue.Queue()
            thread = threading.Thread(target=_pass_on, args=(worker, lines), daemon=True)
            thread.start()
            number, begun = first - 1, False
            while self._is_on:
                try:
                    line = lines.get(timeout=WALL_SECONDS)
                except queue.Empty:
                    worker.kill()
                    line = ""
                if not line:
                    code = worker.wait()
                    if begun:
                        self._add_finding(number, f"Crashed: exit code {code}")
                    break
                what, of, *details = line.rstrip("\n").split("\t")
                number, begun = int(of), what == "begin"
                if what == "found":
                    self._add_finding(number, details[0])
                if what == "end":
                    self.cases += 1
                    self.outcomes.update(details[0].split("\x1f"))
                    if time.monotonic() > self.shown + _PROGRESS_SECONDS:
                        self._show()
            worker.kill()
        return number + 1

    def _add_finding(self, number: int, what: str) -> None:
        self.cases += 1
        self.found += 1
        kind = _NUMBERS.sub("0", what)[:_KIND_CHARACTERS]
        self.kinds[kind] += 1
        print(f"\nFOUND: seed {self.seed}, case {number}: {what}", flush=True)
        if self.kinds[kind] > _SHRUNK_OF_A_KIND:
            return
        started = time.monotonic()
        case = case_of(self.seed, number)
        self.options.findings.mkdir(exist_ok=True)
        file = self.options.findings / f"{self.seed}-{number}.json"
        file.write_text(case.to_json())
        case = shrunk(case, what, file.with_suffix(".part"), self.options.shrink_seconds)
        file.write_text(case.to_json())
        shown = f"{case!r:.{_SHOWN_CHARACTERS}}"
        print(f"{shown}\nAgain: python -m verification.fuzz --replay {file}\n", flush=True)
        seconds = time.monotonic() - started
        self.until += seconds
        self.shrinking_seconds += seconds

    def _show(self) -> None:
        self.shown = time.monotonic()
        seconds = self.shown - self.started - self.shrinking_seconds
        print(
            f"{seconds / 60:.1f} minutes, {self.cases:,} cases ({self.cases / seconds:.1f}/s), "
            f"{len(self.outcomes)} distinct outcomes, {self.found} findings",
            flush=True,
        )


def _pass_on(worker: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        lines.put(line)
    lines.put("")


if __name__ == "__main__":
    sys.exit(main())
