"""The command `python -m benchmarks`."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from benchmarks.machine import describe_machine
from benchmarks.measure import Step, WorkFailedError, measure
from benchmarks.peers import NAMES
from benchmarks.plan import WORKS, Case, Options, planned
from benchmarks.report import all_right, as_markdown, as_text
from benchmarks.results import Record, Results

_GROUPS = ("floor", "work", "peers")
_WHAT = (*_GROUPS, "plots")
_STEPS = ("first", "again", "changed")


def main() -> int:
    """Measure the requested cases; print tables; write JSON, Markdown and plots."""
    arguments = _parser().parse_args()
    folder: Path = arguments.out.resolve()
    options = Options(
        groups=[group for group in _GROUPS if group in arguments.what],
        sizes=arguments.sizes,
        works=arguments.works,
        peers=arguments.peers,
        steps=arguments.steps,
        deltas=arguments.deltas,
        many=arguments.many,
        folder=folder,
    )
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / "results.json")
    run = datetime.now(UTC).isoformat(timespec="seconds")
    if options.groups:
        results.machine = describe_machine()
        results.forget_failures(options.groups)
        _print(f"Load average at the start: {os.getloadavg()[0]:.2f}")
        _print("Preparing missing files and tables")
        _measure_all(list(planned(options)), arguments.rounds, run, results, options.scratch)
        shutil.rmtree(options.scratch, ignore_errors=True)
    (folder / "results.md").write_text(as_markdown(results))
    print(as_text(results))
    print(f"\nEvery round: {results.path}")
    if "plots" in arguments.what:
        _plot(results, folder / "plots")
    return 0 if all_right(results, run) else 1


def _measure_all(
    cases: Sequence[Case], rounds: int, run: str, results: Results, scratch: Path
) -> None:
    """Measure all cases in turn, round by round, so that noise affects all alike."""
    failed = set()
    for number in range(1, rounds + 1):
        for case in cases:
            if case in failed:
                continue
            fields = {name: getattr(case, name) for name in _CASE_FIELDS}
            record = Record(**fields, step="", run=run)
            try:
                steps = measure(case.work, scratch) if case.work else _none(case)
            except WorkFailedError as error:
                failed.add(case)
                record.error = str(error)
                results.fail(record)
                _print(f"{case.name}: NOT MEASURED: {record.reason}")
            else:
                results.add(record, steps)
                _print(f"round {number} of {rounds}: {_line(case, steps)}")
            results.save()


_CASE_FIELDS = ("group", "name", "rows", "version", "floor", "error")


def _line(case: Case, steps: Sequence[Step]) -> str:
    shown = [
        f"{step.name} {step.seconds:.2f} s" + f" WRONG: {step.wrong}" * bool(step.wrong)
        for step in steps
    ]
    return f"{case.name}, {case.rows:,} rows: {', '.join(shown)}"


def _none(case: Case) -> NoReturn:
    raise WorkFailedError(case.error)


def _plot(results: Results, folder: Path) -> None:
    try:
        from benchmarks.plots import render_plots  # noqa: PLC0415 (it need not be installed)
    except ModuleNotFoundError as error:
        print(f"No plots: the Python package {error.name} is not installed")
        return
    for path in render_plots(results, folder):
        print(f"Plot: {path}")


def _print(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the floor, our own work and other tools on the same files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--what", type=_some_of(_WHAT), default="all", help=f"of {','.join(_WHAT)}")
    add("--sizes", type=_numbers, default="500000", help="rows of the files")
    add("--works", type=_some_of(WORKS), default="all", help=f"of {','.join(WORKS)}")
    add("--peers", type=_some_of(NAMES), default="all", help=f"of {','.join(NAMES)}")
    add("--steps", type=_some_of(_STEPS), default="first,again", help=f"of {','.join(_STEPS)}")
    add("--deltas", type=_numbers, default="1000,500000", help="rows onto large tables")
    add("--many", type=_times, default="1000x1000", help="small files and their rows")
    add("--rounds", type=int, default=5, help="how often each is measured")
    add("--out", type=Path, default=Path("build/bench"), help="for results and samples")
    return parser


def _some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    def names_in(text: str) -> list[str]:
        chosen = list(names) if text == "all" else text.split(",")
        if unknown := set(chosen) - set(names):
            msg = f"{', '.join(sorted(unknown))}: choose from {', '.join(names)}"
            raise argparse.ArgumentTypeError(msg)
        return [name for name in names if name in chosen]

    return names_in


def _numbers(text: str) -> list[int]:
    try:
        return sorted({int(number.replace("_", "")) for number in text.split(",")})
    except ValueError as error:
        msg = f"{text}: numbers, please, separated by commas"
        raise argparse.ArgumentTypeError(msg) from error


def _times(text: str) -> tuple[int, int]:
    count, _, rows = text.partition("x")
    try:
        return int(count), int(rows)
    except ValueError as error:
        msg = f"{text}: FILESxROWS, please, such as 1000x1000"
        raise argparse.ArgumentTypeError(msg) from error


if __name__ == "__main__":
    sys.exit(main())
