"""Plots of the results, as SVG."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.report import is_ours, ratio_to_ours
from benchmarks.results import Record, Results

_OURS, _OTHERS, _WRONG, _LINE = "#1f6feb", "#9aa5b1", "#d1242f", "#57606a"
_PHASES = ("#d0d7de", "#80b3ff", "#f2b880", "#a3cfa2", "#cbb2d6")
"""One for each phase: landing, reading, merging, reading and merging, the rest."""

_STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "svg.hashsalt": "lfp_pipeline",  # The same results give the same file.
}


def render_plots(results: Results, folder: Path) -> list[Path]:
    """Draw all plots for which there are results."""
    folder.mkdir(parents=True, exist_ok=True)
    plots: dict[str, Callable[[Results, Path], bool]] = {
        "peers.svg": _draw_peers,
        "cost.svg": _draw_cost,
        "phases.svg": _draw_phases,
    }
    with mpl.rc_context(_STYLE):
        return [folder / name for name, draw in plots.items() if draw(results, folder / name)]


def _draw_peers(results: Results, path: Path) -> bool:
    """Draw the seconds of each tool: a row of plots for each size, a plot for each step."""
    records = results.of("peers")
    if not records:
        return False
    sizes = sorted({record.rows for record in records})
    steps = list(dict.fromkeys(record.step for record in records))
    tools = len({record.name for record in records})
    figure, grid = plt.subplots(
        len(sizes),
        len(steps),
        figsize=(5.2 * len(steps) + 1, (0.38 * tools + 0.9) * len(sizes)),
        squeeze=False,
        layout="constrained",
    )
    for row, size in enumerate(sizes):
        found = [record for record in records if record.rows == size]
        seconds = {record.name: record.seconds for record in reversed(found)}
        names = sorted(seconds, key=seconds.__getitem__)
        for column, step in enumerate(steps):
            axes = grid[row][column]
            at_step = {record.name: record for record in found if record.step == step}
            _draw_bars(axes, results, [at_step.get(name) for name in names])
            axes.set_yticks(range(len(names)), names if column == 0 else [])
            axes.set_title(f"{size:,} rows, {_STEP_TITLES.get(step, step)}")
            axes.set_xlabel("seconds, median" if row == len(sizes) - 1 else "")
    _save(figure, path)
    return True


_STEP_TITLES = {
    "first": "into empty tables",
    "again": "the same file again",
    "changed": "the same skus with other texts",
}


def _draw_bars(axes: Axes, results: Results, records: list[Record | None]) -> None:
    for place, record in enumerate(records):
        if record is None:
            axes.text(0, place, " not measured", va="center", color=_LINE)
            continue
        color = _OURS if is_ours(record) else _OTHERS
        axes.barh(place, record.seconds, color=_WRONG if record.wrong else color, height=0.7)
        ratio = ratio_to_ours(results, record)
        text = f" {record.seconds:.2f} s"
        if ratio and not is_ours(record):
            text += f", {ratio:.1f} x"
        axes.text(record.seconds, place, text + (", wrong" * bool(record.wrong)), va="center")
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)


def _draw_cost(results: Results, path: Path) -> bool:
    """Draw seconds against rows on logarithmic scales; the dashed line is linear growth."""
    lines = {
        "first load": _by_rows(results, "work", "plain file", "first"),
        "the same again": _by_rows(results, "work", "plain file", "again"),
        "bare load": _by_rows(results, "floor", "bare load", "load"),
    }
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for (name, points), color in zip(lines.items(), (_OURS, "#f2a65a", _LINE), strict=False):
        rows, seconds = zip(*points, strict=True)
        axes.loglog(rows, seconds, marker="o", color=color, label=name)
    points = next(iter(lines.values()))
    (rows_from, seconds_from), rows_to = points[0], points[-1][0]
    axes.loglog(
        [rows_from, rows_to],
        [seconds_from, seconds_from * rows_to / rows_from],
        linestyle="--",
        color="#8c959f",
        linewidth=1,
        label="in proportion to rows",
    )
    axes.set_xlabel("rows of the file")
    axes.set_ylabel("seconds, median")
    axes.set_xticks(sorted({rows for points in lines.values() for rows, _ in points}))
    axes.xaxis.set_major_formatter(FuncFormatter(_as_rows))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#eaeef2")
    axes.set_title("Cost against rows")
    axes.legend()
    _save(figure, path)
    return True


def _by_rows(results: Results, group: str, name: str, step: str) -> list[tuple[int, float]]:
    return [
        (record.rows, record.seconds)
        for record in results.of(group)
        if record.name in {name, f"{name} of {record.rows:,} rows"} and record.step == step
    ]


def _as_rows(rows: float, _place: int) -> str:
    return f"{rows / 1e6:g}M" if rows >= 1e6 else f"{rows / 1e3:g}k"  # noqa: PLR2004 (a million)


def _draw_phases(results: Results, path: Path) -> bool:
    """Draw our seconds by phase: a bar for each work that reports phases, as shares."""
    records = [record for record in results.of("work") if record.rounds[0].phases]
    if not records:
        return False
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(records) + 1.3), layout="constrained")
    names = list(dict.fromkeys(phase for record in records for phase in _phases(record)))
    for place, record in enumerate(records):
        phases = _phases(record)
        whole = sum(phases.values())
        starts = [0.0]
        for name in names:
            share = phases.get(name, 0.0) / whole
            axes.barh(place, share, left=starts[-1], color=_PHASES[names.index(name)], height=0.7)
            starts.append(starts[-1] + share)
        for name, (start, end) in zip(names, pairwise(starts), strict=True):
            if end - start > 0.1:  # noqa: PLR2004 (room for the text)
                text = f"{phases[name]:.2g} s"
                axes.text((start + end) / 2, place, text, ha="center", va="center")
    labels = [f"{record.name}: {record.step} ({_as_rows(record.rows, 0)})" for record in records]
    axes.set_yticks(range(len(records)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.tick_params(axis="y", length=0)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in _PHASES[: len(names)]]
    figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    _save(figure, path)
    return True


def _phases(record: Record) -> dict[str, float]:
    landing = record.median(lambda step: step.notes.get("landing", 0.0))
    phases = {name: seconds for name, seconds in record.phases().items() if name != "the rest"}
    return {"landing": landing, **phases}


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
