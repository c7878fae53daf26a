"""Kills real processes, at named steps and at random times, and checks what they leave."""

import argparse
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

from verification.crash.campaign import RANDOM_TIME, Campaign, Figures
from verification.crash.steps import Step
from verification.crash.worker import WORKS

FOLDER = Path(".crash")

_PROGRESS_SECONDS = 60


def main() -> int:
    """Run; return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: drawn")
    parser.add_argument("--first", type=int, default=0, help="the number of the first data folder")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for data folders")
    arguments = parser.parse_args()
    print(f"Seed {arguments.seed}", flush=True)
    _ignore_own_settings(arguments.folder)
    progress = _Progress()
    campaign = Campaign(arguments.seed, arguments.folder.resolve())
    figures = campaign.run(arguments.kills, arguments.first, progress.show)
    print("\n".join([*_table(figures), "", progress.line(figures)]))
    return 1 if figures.violations else 0


class _Progress:
    """Prints each violation at once, and the figures once a minute."""

    def __init__(self) -> None:
        self.started = self.shown = time.monotonic()
        self.violations = 0

    def show(self, figures: Figures) -> None:
        for violation in figures.violations[self.violations :]:
            print(f"\nVIOLATED {violation}\n", flush=True)
        self.violations = len(figures.violations)
        if time.monotonic() > self.shown + _PROGRESS_SECONDS:
            self.shown = time.monotonic()
            print(self.line(figures), flush=True)

    def line(self, figures: Figures) -> str:
        seconds, kills = time.monotonic() - self.started, figures.kills.total()
        at_once = ", ".join(f"{of} in {n} rounds" for of, n in sorted(figures.processes.items()))
        return (
            f"{kills:,} kills in {seconds:,.0f} s ({seconds / max(kills, 1):.2f} s each); all "
            f"invariants checked {figures.checks:,} times: {len(figures.violations)} violations. "
            f"Processes at once: {at_once}. {figures.missed} ended before they came to their step."
        )


def _ignore_own_settings(folder: Path) -> None:
    """Keep the settings and sources of the person who runs this out of the campaign."""
    folder.mkdir(parents=True, exist_ok=True)
    nothing, no_sources = folder / "empty.toml", folder / "sources.yaml"
    nothing.touch()
    no_sources.write_text("sources: []\n")
    os.environ |= {"LFP_SETTINGS_FILE": str(nothing), "LFP_SOURCES_FILE": str(no_sources)}


def _table(figures: Figures) -> list[str]:
    """Return the kills by step, and by work, in Markdown."""
    kills: Counter[tuple[str, bool]] = Counter()
    works: Counter[str] = Counter()
    for (work, step, after), number in figures.kills.items():
        kills[step, after] += number
        works[work] += number
    lines = ["| step | just before | just after |", "|---|---:|---:|"]
    for step in Step:
        before, after = (kills[step, is_after] for is_after in (False, True))
        lines.append(f"| {step} | {before or 'never'} | {after or 'never'} |")
    lines.append(f"| {RANDOM_TIME} | {kills[RANDOM_TIME, False]} | |")
    lines += ["", "| work | kills |", "|---|---:|"]
    return [*lines, *(f"| {work} | {works[work] or 'never'} |" for work in WORKS)]


if __name__ == "__main__":
    sys.exit(main())
