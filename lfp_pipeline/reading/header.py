"""Finds the header of a file; where there is none, says why and what to do about it."""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from lfp_pipeline.common.text import pluralize, printable
from lfp_pipeline.errors import DeliveryRefusedError, NoHeaderError
from lfp_pipeline.reading.columns import WANTED, Aliases, matches
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.records import RecordForm, RecordGrammar, line_end

SHOWN_BYTES = 100
_SHOWN_CHARACTERS = 200
_NAMES = {"\t": "tab"}
_LINE_BYTES = 1_000
_MOST_DELIMITERS = 10_000
"""A line with more is no header. It takes long to look at."""


@dataclass(frozen=True)
class HeaderSearch:
    """How the header of a file is found.

    Attributes:
        aliases: names of the columns beside their own.
        lines: so many lines may it be looked for in.
        delimiter: between the values, where the source says which; otherwise one of `DELIMITERS`.
    """

    aliases: Aliases
    lines: int = 20
    delimiter: str | None = None


def header_search(delimiter: str | None, options: ReadOptions) -> HeaderSearch:
    """How the header of a file is found whose source says this of its delimiter."""
    return HeaderSearch(options.column_aliases, options.header_search_lines, delimiter)


@dataclass(frozen=True)
class Header:
    """A line that may be the header: [start, text_end), and its line end.

    A line may begin with byte order marks.
    """

    delimiter: str
    cells: list[str]
    start: int
    text_end: int
    end: int


def find_header(head: bytes, start: int, delimiters: Sequence[str], search: HeaderSearch) -> Header:
    """The first line that names all columns.

    Raises:
        NoHeaderError: there is none.
        DeliveryRefusedError: the file is of another format.
    """
    nearest: tuple[int, Header] | None = None
    number, line_start = 1, start
    while line_start < len(head):
        headers = [found for mark in delimiters if (found := _header(head, line_start, mark))]
        for header in headers:
            named = _columns_named(header.cells, search.aliases)
            if named == len(WANTED):
                if number <= search.lines:
                    return header
                raise NoHeaderError(_header_below(number, search.lines))
            if number <= search.lines and (nearest is None or named > nearest[0]):
                nearest = (named, header)
        # A quoted text goes on in the next lines, and none of them is a header.
        below = max([line_end(head, line_start), *(found.end for found in headers)])
        number += sum(1 for _ in line_starts(head[line_start:below]))
        line_start = below
    if (nearest is None or nearest[0] == 0) and (other_format := format_of(head)):
        raise DeliveryRefusedError(other_format.refusal)
    if nearest is None:
        msg = f"The header is not a line of CSV: {head[start : start + SHOWN_BYTES]!r}."
        raise NoHeaderError(msg)
    other = None
    for line_start in islice(line_starts(head, start), search.lines):
        line = head[line_start : line_end(head, line_start)][:_LINE_BYTES].decode(errors="replace")
        names_all = partial(_names_all, head, line_start, search)
        other = other or _other_delimiter_in(line, names_all)
    cells, lines = nearest[1].cells, search.lines
    raise NoHeaderError(_no_header(cells, search.aliases, lines, delimiters, other))


def _names_all(head: bytes, start: int, search: HeaderSearch, delimiter: str) -> bool:
    header = _header(head, start, delimiter)
    return header is not None and _columns_named(header.cells, search.aliases) == len(WANTED)


def line_starts(head: bytes, start: int = 0) -> Iterator[int]:
    """Where each line begins."""
    while start < len(head):
        yield start
        start = line_end(head, start)


def _header(head: bytes, start: int, delimiter: str) -> Header | None:
    begin = start
    while head.startswith(BOM_UTF8, begin):  # A mark before a quote would make it a bare one.
        begin += len(BOM_UTF8)
    form = RecordForm(delimiter.encode(), b"\n", 1, 1, bare_quotes=True)
    for grammar in (RecordGrammar(form), RecordGrammar(replace(form, backslash=True))):
        ends = grammar.record_of_any_width(head, begin)
        if ends and head.count(delimiter.encode(), begin, ends[0]) <= _MOST_DELIMITERS:
            return Header(delimiter, grammar.fields(head[begin : ends[0]]), start, *ends)
    return None


def _columns_named(header: Sequence[str], aliases: Aliases) -> int:
    return sum(bool(positions) for positions in matches(header, aliases).values())


def _no_header(
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


def _header_below(number: int, lines: int) -> str:
    """Say that the header is in a line below those that are searched."""
    searched = pluralize(lines, "line")
    return (
        f"The header is in line {number}, and is searched for in the first {searched} only."
        f" Set LFP_HEADER_SEARCH_LINES={number}, or remove the lines above the header."
    )


def _other_delimiter_in(line: str, is_header: Callable[[str], bool]) -> str | None:
    """The punctuation mark that would make a header of a line, if one would."""
    marks = dict.fromkeys(
        mark for mark in line if mark.isascii() and mark.isprintable() and not mark.isalnum()
    )
    return next((mark for mark in marks if mark not in " \"'" and is_header(mark)), None)
