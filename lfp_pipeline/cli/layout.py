"""Tables and texts that fit the terminal, counted in its cells."""

import re
import shutil
from collections.abc import Collection, Sequence
from datetime import datetime
from numbers import Number

import click

MAX_WIDTH = 100
"""The number of cells in a line for people, also on a wider terminal."""

_NARROWEST = 8
_GAP = "  "


def width() -> int:
    """Return the number of cells in a line for people: 100, or those of a narrower terminal."""
    return min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 0)).columns)


def fit(text: str, indent: int = 2) -> str:
    """Return a text whose long lines go on in further lines, indented.

    Long words stay whole, and so do lines that are commands of `lfp`, to be copied.
    """
    lines: list[str] = []
    for line in text.splitlines():
        content = line.lstrip()
        margin = line[: len(line) - len(content)]
        is_command = content.startswith("lfp ")
        wrapped = [content] if is_command else _wrapped(content, width() - len(margin), indent)
        lines += [f"{margin}{part}".rstrip() for part in wrapped]
    return "\n".join(lines)


def _wrapped(text: str, cells: int, indent: int = 0) -> list[str]:
    """Return a text in lines of at most so many cells; all but the first one are indented."""
    from lfp_pipeline.common.text import cell_count

    first, *others = re.findall(r"\s*\S+", text) or [""]
    lines = [first]
    for word in others:
        if cell_count(lines[-1] + word) <= cells:
            lines[-1] += word
        else:
            lines.append(" " * indent + word.lstrip())
    return lines


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    names: Collection[str] = (),
    whole: Collection[str] = (),
) -> None:
    """Print rows as aligned columns on stdout; numbers are aligned to the right.

    Texts are shortened, the longest first, until a line fits: those of the columns `names` inside,
    others at their ends. Texts of the columns `whole` are not: in the first column, a long one gets
    a line of its own, to be copied; in the last one, it goes on in further lines. With too many
    columns, each value gets a line.
    """
    from lfp_pipeline.common.text import cell_count, cut, cut_inside

    numeric = [
        bool(rows) and all(isinstance(row[number], Number | None) for row in rows)
        for number in range(len(columns))
    ]
    # A cell may be large, so it is cut before it is escaped.
    limits = [None if column in {*names, *whole} else 4 * MAX_WIDTH for column in columns]
    table = [list(map(cell_text, line, limits)) for line in (columns, *rows)]
    own_lines = [""] * len(table)
    flexible = {number for number, right in enumerate(numeric) if not right}
    if columns[0] in whole:
        flexible.discard(0)
        for number, line in enumerate(table):
            if cell_count(line[0]) > width() // 2:
                own_lines[number], line[0] = line[0], ""
    widths = _widths(table, flexible)
    if widths is None:
        rows_with_own = zip(own_lines, table, strict=True)
        _print_records([[own + line[0], *line[1:]] for own, line in rows_with_own], whole)
        return
    shorten = [cut_inside if column in names else cut for column in columns]
    for own_line, line in zip(own_lines, table, strict=True):
        if own_line:
            click.echo(own_line)
        last, *further = _wrapped(line[-1], widths[-1]) if columns[-1] in whole else line[-1:]
        for cells in ([*line[:-1], last], *([""] * (len(line) - 1) + [part] for part in further)):
            short = [
                cutting(cell, size)
                for cutting, cell, size in zip(shorten, cells, widths, strict=True)
            ]
            click.echo(_GAP.join(map(_aligned, short, widths, numeric)).rstrip())


def _aligned(cell: str, cells: int, right: bool) -> str:
    from lfp_pipeline.common.text import cell_count

    space = " " * (cells - cell_count(cell))
    return space + cell if right else cell + space


def _widths(table: Sequence[Sequence[str]], flexible: Collection[int]) -> list[int] | None:
    """Return the widths of columns with which a line fits; None: there are none."""
    from lfp_pipeline.common.text import cell_count

    widths = [max(map(cell_count, cells)) for cells in zip(*table, strict=True)]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width():
        widest = max(flexible, key=lambda number: widths[number], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            return None
        widths[widest] -= 1
    return widths


def _print_records(table: Sequence[Sequence[str]], whole: Collection[str]) -> None:
    """Print a table with a line for each value, and its column before it."""
    from lfp_pipeline.common.text import cell_count, cut, padded

    columns, *rows = table
    margin = min(max(map(cell_count, columns)), width() // 2)
    names = [padded(cut(column, margin), margin) for column in columns]
    if not rows:
        click.echo(fit(", ".join(columns)))
    for number, row in enumerate(rows):
        if number:
            click.echo()
        for column, name, cell in zip(columns, names, row, strict=True):
            value = cut(cell, max(_NARROWEST, width() - margin - len(_GAP)))
            click.echo(f"{name}{_GAP}{cell if column in whole else value}".rstrip())


def cell_text(value: object, limit: int | None = None) -> str:
    """Return a value as printable text for people, of at most `limit` characters if it is long."""
    from lfp_pipeline.common.text import printable, shortened

    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if value is None:
        return ""
    text = str(value)
    return printable(text) if limit is None else shortened(printable(text[: limit + 1]), limit)
