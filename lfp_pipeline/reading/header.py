"""The header of a file: how it is found, and the refusal of a file without one."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from lfp_pipeline.common.text import pluralize, printable
from lfp_pipeline.errors import DeliveryRefusedError, NoHeaderError
from lfp_pipeline.reading.columns import WANTED, matches
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.records import RecordForm, RecordGrammar, line_end

SHOWN_BYTES = 100
_SHOWN_CHARACTERS = 200
_NAMES = {"\t": "tab"}
_LINE_BYTES = 1_000
_MAX_DELIMITERS = 10_000
"""A line with more delimiters is no header, and slow to analyze."""


@dataclass(frozen=True)
class Header:
    """A line that may be the header.

    Attributes:
        delimiter: with which it was split into cells.
        cells: its values.
        start: offset of the line, which may begin with byte order marks.
        text_end: offset of its line end.
        end: offset of the next line.
    """

    delimiter: str
    cells: list[str]
    start: int
    text_end: int
    end: int


def find_header(head: bytes, start: int, delimiters: Sequence[str], options: ReadOptions) -> Header:
    """Return the first line from an offset on that names all columns with one of the delimiters.

    Raises:
        NoHeaderError: no line names all columns.
        DeliveryRefusedError: the file has another format than CSV.
    """
    nearest: tuple[int, Header] | None = None
    number, line_start = 1, start
    while line_start < len(head):
        headers = [found for mark in delimiters if (found := _header(head, line_start, mark))]
        for header in headers:
            named = _columns_named(header, options)
            if named == len(WANTED):
                if number <= options.header_search_lines:
                    return header
                raise NoHeaderError(_header_below(number, options.header_search_lines))
            if number <= options.header_search_lines and (nearest is None or named > nearest[0]):
                nearest = (named, header)
        # A quoted text may extend over the next lines; none of them is a header.
        below = max([line_end(head, line_start), *(found.end for found in headers)])
        number += sum(1 for _ in line_starts(head[line_start:below]))
        line_start = below
    if (nearest is None or nearest[0] == 0) and (other_format := format_of(head)):
        raise DeliveryRefusedError(other_format.refusal())
    if nearest is None:
        msg = f"The header is not a line of CSV: {head[start : start + SHOWN_BYTES]!r}."
        raise NoHeaderError(msg)
    lines = islice(line_starts(head, start), options.header_search_lines)
    others = (_other_delimiter(head, line_start, options) for line_start in lines)
    other = next(filter(None, others), None)
    raise NoHeaderError(_no_header(nearest[1].cells, options, delimiters, other))


def line_starts(head: bytes, start: int = 0) -> Iterator[int]:
    """Yield the offset of each line."""
    while start < len(head):
        yield start
        start = line_end(head, start)


def _header(head: bytes, start: int, delimiter: str) -> Header | None:
    begin = start
    while head.startswith(BOM_UTF8, begin):  # After a mark, a quote would count as inside a value.
        begin += len(BOM_UTF8)
    form = RecordForm(delimiter.encode(), b"\n", 1, 1, bare_quotes=True)
    for grammar in (RecordGrammar(form), RecordGrammar(replace(form, backslash=True))):
        ends = grammar.record_of_any_width(head, begin)
        if ends and head.count(delimiter.encode(), begin, ends[0]) <= _MAX_DELIMITERS:
            return Header(delimiter, grammar.fields(head[begin : ends[0]]), start, *ends)
    return None


def _columns_named(header: Header, options: ReadOptions) -> int:
    return sum(map(bool, matches(header.cells, options.column_aliases).values()))


def _no_header(
    cells: Sequence[str],
    options: ReadOptions,
    delimiters: Sequence[str],
    other_delimiter: str | None,
) -> str:
    """Return the refusal of a file without a header, with the remedy that fits the file.

    `cells` are those of the line that is most like a header. With `other_delimiter`, which was not
    tried, a line would be a header.
    """
    found = matches(cells, options.column_aliases)
    searched = pluralize(options.header_search_lines, "line")
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
        f"Searched in the first {searched} (setting LFP_HEADER_SEARCH_LINES), with "
        f"the delimiters {tried}. {remedy}"
    )


def _header_below(number: int, lines: int) -> str:
    searched = pluralize(lines, "line")
    return (
        f"The header is in line {number}, and is searched for in the first {searched} only."
        f" Set LFP_HEADER_SEARCH_LINES={number}, or remove the lines above the header."
    )


def _other_delimiter(head: bytes, start: int, options: ReadOptions) -> str | None:
    """Return the punctuation mark with which a line is a header; None: there is none."""
    line = head[start : line_end(head, start)][:_LINE_BYTES].decode(errors="replace")
    for mark in dict.fromkeys(line):
        if mark.isascii() and mark.isprintable() and not mark.isalnum() and mark not in " \"'":
            header = _header(head, start, mark)
            if header is not None and _columns_named(header, options) == len(WANTED):
                return mark
    return None
