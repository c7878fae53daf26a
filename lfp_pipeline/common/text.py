"""Text for people: numbers, names, sizes, cells of a terminal, escapes for what is unprintable."""

import re
import shlex
import unicodedata
from collections.abc import Sequence
from typing import Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)")
_NAME_CELLS = 50
_WITHOUT_WIDTH = {"Mn", "Me", "Cf"}
_WIDE = {"F", "W"}
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2,000 rows`, `3 deliveries`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def preview(names: Sequence[str], number: int | None = None, limit: int = 5) -> str:
    """Return the first names, printable, and how many follow: `a, b and 1,998 more`.

    `number` is that of all names, if `names` has only the first ones.
    """
    shown = [printable(name) for name in names[:limit]]
    remaining = (len(names) if number is None else number) - len(shown)
    return ", ".join(shown) + (f" and {remaining:,} more" if remaining else "")


def printable(text: str) -> str:
    """Return a text on one line, with escapes for unprintable characters."""
    if text.isprintable():  # The usual case, and fast.
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def visible(text: str) -> str:
    """Return a text with its lines, and with escapes for all other unprintable characters.

    Escapes keep the text of a file or server from controlling the terminal.
    """
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters; an ellipsis replaces the rest."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cell_count(text: str) -> int:
    """Return the number of cells of a terminal that a printable text takes.

    A Chinese character or an emoji takes two, and a combining mark none.
    """
    return len(text) if text.isascii() else sum(map(_cells, text))


def padded(text: str, cells: int) -> str:
    """Return a text with spaces at its end, so that it takes so many cells."""
    return text + " " * (cells - cell_count(text))


def cut(text: str, cells: int) -> str:
    """Return a text of at most so many cells; an ellipsis replaces its end."""
    return text if cell_count(text) <= cells else _beginning(text, cells - 1) + "…"


def cut_inside(text: str, cells: int) -> str:
    """Return a text of at most so many cells; an ellipsis replaces its middle."""
    if cell_count(text) <= cells:
        return text
    end = (cells - 1) // 2
    return f"{_beginning(text, cells - 1 - end)}…{_ending(text, end)}"


def short_name(text: str) -> str:
    """Return a name in one line, with the middle of a long one left out."""
    return cut_inside(printable(text), _NAME_CELLS)


def _cells(character: str) -> int:
    if unicodedata.category(character) in _WITHOUT_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def _beginning(text: str, cells: int) -> str:
    for number, character in enumerate(text):
        cells -= _cells(character)
        if cells < 0:
            return text[:number]
    return text


def _ending(text: str, cells: int) -> str:
    start = len(text)
    while start and cells >= (width := _cells(text[start - 1])):
        start, cells = start - 1, cells - width
    while start < len(text) and not _cells(text[start]):  # A mark needs its character before it.
        start += 1
    return text[start:]


def lfp_command(name: str, argument: str) -> str:
    """Return a command of `lfp` for a shell; no argument becomes an option: `lfp show -- -x`."""
    end_of_options = ["--"] if argument.startswith("-") else []
    return shlex.join(["lfp", name, *end_of_options, argument])


def format_size(size: float) -> str:
    """Return a size in bytes with its unit: `90.1 MB`, or `0.9 KB` below one megabyte."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} KB"  # noqa: PLR2004


def field_and_reason(problem: Any) -> tuple[str, str]:  # noqa: ANN401 (pydantic exports no type)
    """Return the path to a field that pydantic refuses (`sku.0`), and the reason."""
    return ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")


def is_size(text: str) -> bool:
    """Return whether a text is a size as DuckDB reads it, such as `2GB` or `1.5 GiB`."""
    return _SIZE.fullmatch(text) is not None


def size_in_bytes(size: str) -> int:
    """Return the bytes of a size such as `2GB`, and a little fewer for `2GiB`."""
    number, unit = _SIZE.fullmatch(size).groups()  # type: ignore[union-attr]  # Checked before.
    return int(float(number) * 1000 ** _POWERS[unit[0]])


def divided_size(size: str, parts: int) -> str:
    """Return an equal part of a size: `2GB` in 4 is `0.5GB`."""
    # Never as 1e+06: DuckDB does not read that.
    return _SIZE.sub(lambda found: f"{float(found[1]) / parts:.6f}{found[2]}", size)
