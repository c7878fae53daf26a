"""Text for people: numbers, lists of names, sizes, and escapes for unprintable characters."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)")
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
