"""Text for people: numbers, names, sizes, and what cannot be printed spelled out."""

import re
from collections.abc import Sequence

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def pluralize(number: int, noun: str) -> str:
    """A number of things for people: `1 row`, `2,000 rows`, `3 deliveries`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def preview(names: Sequence[str], number: int | None = None, limit: int = 5) -> str:
    """Names for people: `a, b and 1,998 more`; what cannot be printed is spelled out.

    Args:
        names: the first ones, or all.
        number: how many there are; None: those that are given.
        limit: so many are named.
    """
    shown = [printable(name) for name in names[:limit]]
    left = (len(names) if number is None else number) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def printable(text: str) -> str:
    """Return a text on one line; what cannot be printed is spelled out."""
    if text.isprintable():  # As nearly all is.
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def visible(text: str) -> str:
    """Return a text in its lines; what cannot be printed is spelled out.

    So no text of a file or server changes the colours, the title or the lines of a terminal.
    """
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, limit: int) -> str:
    """Return at most so many characters of a text; an ellipsis shows that there are more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def format_size(size: float) -> str:
    """A size for people: `90.1 MB`, and `0.9 KB` for a small one."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} KB"  # noqa: PLR2004


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
