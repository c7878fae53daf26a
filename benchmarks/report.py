"""Tables of the results: plain text for the terminal, Markdown for the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Record, Results

_MEGA = 1e6


@dataclass(frozen=True)
class Table:
    """A title, a header and rows; the first column is text, others are mostly numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """Return the table with columns of equal width."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if index in (0, len(widths) - 1) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (self.header, *self.rows)
        ]
        return "\n".join([self.title, "-" * len(self.title), *lines, ""])

    def as_markdown(self) -> str:
        """Return the table with its title as a heading."""
        rule = ["---"] + ["---:"] * (len(self.header) - 2) + ["---"]
        rows = (self.header, rule, *self.rows)
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([f"### {self.title}", "", *lines, ""])


def all_tables(results: Results) -> list[Table]:
    """Return tables for the floor, our work, and the peers at each size, where there are rows."""
    peers = results.of("peers")
    tables = [
        _floor_table(results),
        _work_table(results),
        *(_peers_table(results, rows) for rows in sorted({record.rows for record in peers})),
        _missing_table(results),
    ]
    return [table for table in tables if table.rows]


def notes(results: Results) -> list[str]:
    """Return the machine, the time, and the load by other programs."""
    notes = [f"{what}: {value}" for what, value in results.machine.items()]
    measured = [record for group in ("floor", "work", "peers") for record in results.of(group)]
    runs = sorted({record.run for record in measured})
    notes.append(f"measured {' and '.join(runs)}; rounds in turn, medians")
    shares = [
        record.median(lambda step: step.others_cpu_seconds / step.seconds) for record in measured
    ]
    if shares:
        notes.append(
            "CPU that other programs used meanwhile, in cores, at most (median of a case): "
            f"{max(shares):.2f}"
        )
    return notes


def as_text(results: Results) -> str:
    """Return all tables and notes for a terminal."""
    return "\n".join([*(table.as_text() for table in all_tables(results)), *notes(results)])


def as_markdown(results: Results) -> str:
    """Return all tables and notes for the documentation."""
    tables = [table.as_markdown() for table in all_tables(results)]
    return "\n".join([*tables, *(f"* {note}" for note in notes(results)), ""])


def ratio_to_ours(results: Results, record: Record) -> float | None:
    """Return a peer's time as a multiple of ours for the same step; None: there is none of ours."""
    for other in results.of("peers"):
        if (other.rows, other.step) == (record.rows, record.step) and is_ours(other):
            return record.seconds / other.seconds
    return None


def is_ours(record: Record) -> bool:
    """Whether a record of the peers is ours."""
    return record.name.startswith("lfp_pipeline")


def _floor_table(results: Results) -> Table:
    rows = [(record.name, *_seconds(record), *_costs(record)) for record in results.of("floor")]
    header = ("floor", "seconds", "min..max", "CPU s", "peak MB", "disk MB", "right")
    return Table("The floor", header, rows)


def _work_table(results: Results) -> Table:
    rows = []
    for record in results.of("work"):
        least = results.floor_seconds(record.floor)
        rows.append(
            (
                f"{record.name}: {record.step}",
                f"{record.rows:,}",
                *_seconds(record),
                f"{record.seconds / least:.2f}" if least else "",
                *(_part(record, name) for name in ("reading", "merging", "landing")),
                *_costs(record),
            )
        )
    header = (
        *("work", "rows", "seconds", "min..max", "x floor", "reading", "merging", "landing"),
        *("CPU s", "peak MB", "disk MB", "right"),
    )
    return Table("Our work", header, rows)


def _peers_table(results: Results, size: int) -> Table:
    records = [record for record in results.of("peers") if record.rows == size]
    steps = list(dict.fromkeys(record.step for record in records))
    by_tool: dict[str, dict[str, Record]] = {}
    for record in records:
        by_tool.setdefault(record.name, {})[record.step] = record
    rows = []
    for tool, found in sorted(
        by_tool.items(), key=lambda item: next(iter(item[1].values())).seconds
    ):
        cells = [tool]
        for step in steps:
            cells += _compared(results, found.get(step))
        last = found.get(steps[-1]) or next(iter(found.values()))
        peak = max(record.peak_bytes for record in found.values())
        wrong = [f"{step}: {_answer(record)}" for step, record in found.items() if record.wrong]
        right = "; ".join(wrong) or _answer(last)
        cells += [f"{peak / _MEGA:,.0f}", _disk(last), right, last.version]
        rows.append(cells)
    header = ["tool"]
    for step in steps:
        header += [f"{step}, s", "min..max", "x ours"]
    header += ["peak MB", "disk MB", "right", "version"]
    return Table(f"Other tools, {size:,} rows", header, rows)


def _compared(results: Results, record: Record | None) -> list[str]:
    if record is None:
        return ["", "", ""]
    ratio = ratio_to_ours(results, record)
    return [*_seconds(record), f"{ratio:.1f}" if ratio else ""]


def _missing_table(results: Results) -> Table:
    rows = [
        (record.name, record.reason)
        for group in ("floor", "work", "peers")
        for record in results.of(group, measured=False)
    ]
    return Table("Not measured", ("what", "why"), rows)


def _seconds(record: Record) -> tuple[str, str]:
    seconds = [step.seconds for step in record.rounds]
    return _short(record.seconds), f"{_short(min(seconds))}..{_short(max(seconds))}"


def _short(seconds: float) -> str:
    digits = 3 if seconds < 1 else 2 if seconds < 100 else 0  # noqa: PLR2004 (three figures)
    return f"{seconds:,.{digits}f}"


def _part(record: Record, name: str) -> str:
    """Return the seconds of a phase, or of landing, which a step notes; empty: there are none."""
    if name not in record.rounds[0].phases | record.rounds[0].notes:
        return ""
    return _short(record.median(lambda step: (step.phases | step.notes)[name]))


def _costs(record: Record) -> tuple[str, str, str, str]:
    """Return the CPU seconds, the memory and the disk space, and whether the answer is right."""
    cpu = _short(record.median(lambda step: step.cpu_seconds))
    return cpu, f"{record.peak_bytes / _MEGA:,.0f}", _disk(record), _answer(record)


def _disk(record: Record) -> str:
    stored = [step.disk_bytes for step in record.rounds if step.disk_bytes is not None]
    return f"{max(stored) / _MEGA:,.0f}" if stored else ""


def _answer(record: Record) -> str:
    return {None: "", "": "yes"}.get(record.wrong, f"NO: {record.wrong}")


def all_right(results: Results, run: str) -> bool:
    """Whether every checked answer of a run was right."""
    return not any(record.wrong for record in results.records.values() if record.run == run)
