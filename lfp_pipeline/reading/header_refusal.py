"""Why a file without a usable header is refused, and what to do about it."""

from collections.abc import Callable, Sequence

from lfp_pipeline.common.text import pluralize, printable
from lfp_pipeline.reading.columns import WANTED, Aliases, matches

_SHOWN_CHARACTERS = 200
_NAMES = {"\t": "tab"}


def no_header(
    cells: Sequence[str],
    aliases: Aliases,
    lines: int,
    delimiters: Sequence[str],
    other_delimiter: str | None,
) -> str:
    """Say that no line is a header, and give the remedy that fits the file.

    Args:
        cells: of the line that comes nearest to a header.
        aliases: names of the columns beside their own.
        lines: so many lines were searched.
        delimiters: what was tried between the names.
        other_delimiter: what would make a header of a line, if anything would.
    """
    found = matches(cells, aliases)
    missing = [column for column in WANTED if not found[column]]
    shown = printable(", ".join(cells))[:_SHOWN_CHARACTERS]
    tried = " ".join(_NAMES.get(mark, mark) for mark in delimiters)
    remedy = (
        "Name the columns name, sku and description in a line above the rows, or give their other "
        "names in LFP_COLUMN_ALIASES."
    )
    if other_delimiter:
        remedy = (
            f"The delimiter seems to be {other_delimiter!r}: put a line sep={other_delimiter} "
            f"above the header, or write `delimiter: {other_delimiter!r}` for the file's source "
            "in the sources file."
        )
    return (
        f"The header has no column {' and no column '.join(missing)}. It names: {shown!r}. "
        f"Searched in the first {pluralize(lines, 'line')} (setting LFP_HEADER_SEARCH_LINES), with "
        f"the delimiters {tried}. {remedy}"
    )


def header_below(number: int, lines: int) -> str:
    """Say that the header is in a line below those that are searched."""
    searched = pluralize(lines, "line")
    return (
        f"The header is in line {number}, and is searched for in the first {searched} only."
        f" Set LFP_HEADER_SEARCH_LINES={number}, or remove the lines above the header."
    )


def other_delimiter_in(line: str, is_header: Callable[[str], bool]) -> str | None:
    """The punctuation mark that would make a header of a line, if one would."""
    marks = dict.fromkeys(
        mark for mark in line if mark.isascii() and mark.isprintable() and not mark.isalnum()
    )
    return next((mark for mark in marks if mark not in " \"'" and is_header(mark)), None)
