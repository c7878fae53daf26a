"""How a file is written: its delimiter, its line ends, its header, and what its writer does."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import DeliveryRefusedError, NoHeaderError
from lfp_pipeline.reading.columns import WANTED, Aliases, ColumnMap, map_columns, matches
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.header_refusal import header_below, no_header, other_delimiter_in
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.records import RecordForm, RecordGrammar, line_end

HEAD_BYTES = 1 << 18
"""How much of a file is looked at. A header is shorter."""

MAX_COLUMNS = 2_000
"""What DuckDB needs for each column does not count towards its memory limit."""

DELIMITERS = (",", ";", "\t", "|")

_SHOWN_BYTES = 100
_LINE_BYTES = 1_000

_SEP_LINE = re.compile(rb'"?sep=([!#-/:-@[-`{-~\t])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_SEP = re.compile(rb'"?sep=', re.IGNORECASE)
_BLANKS = re.compile(rb"[ \t\r\n]*+")
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
class Dialect:
    """How one file is written.

    Attributes:
        delimiter: one character.
        newline: what ends the header, and so is expected to end every record.
        columns: which column is which.
        lines_above: lines before the header.
        title: the first of these that is neither blank nor a `sep=` line, for people.
        plain_header: whether DuckDB finds the header where it is: on one line, after lines with
            the same line end.
        body_start: where the first record begins, in bytes.
        form: how the records are written.
    """

    delimiter: str
    newline: bytes
    columns: ColumnMap
    lines_above: int
    title: str
    plain_header: bool
    body_start: int
    form: RecordForm

    def grammar(self) -> RecordGrammar:
        """The grammar of this file's records."""
        return RecordGrammar(self.form)

    def with_form(self, form: RecordForm) -> "Dialect":
        """The same with records of another form."""
        return replace(self, form=form)


def detect_dialect(
    head: bytes, mark_length: int, search: HeaderSearch, max_record_bytes: int = 2_000_000
) -> Dialect:
    """Look at a file's first bytes: UTF-8, after a byte order mark of `mark_length` bytes.

    The header is the first line that names the columns we want, and the delimiter is the one that
    makes it do so: no guess from the rows, which may hold anything. What is above it is skipped:
    titles, comments, blank lines.

    Raises:
        DeliveryRefusedError: the file is empty, or no line is such a header, or it names too many
            columns.
    """
    delimiters, start = [search.delimiter] if search.delimiter else list(DELIMITERS), mark_length
    if sep := _SEP_LINE.match(head, start):
        delimiters, start = [sep[1].decode()], sep.end()
    if _BLANKS.fullmatch(head, start):
        msg = "The file is empty: it has no header and no rows. Deliver it with its content."
        raise DeliveryRefusedError(msg)
    header = _find_header(head, start, delimiters, search)
    if header.end >= HEAD_BYTES:
        msg = f"The header is longer than {HEAD_BYTES:,} bytes."
        raise DeliveryRefusedError(msg)
    if len(header.cells) > MAX_COLUMNS:
        msg = f"The header names {len(header.cells):,} columns; at most {MAX_COLUMNS:,} are read."
        raise DeliveryRefusedError(msg)
    newline = head[header.text_end : header.end] or b"\n"
    above, line = head[mark_length : header.start], head[header.start : header.text_end]
    lines_above = sum(1 for _ in _lines(above))
    lines = (bare_line.strip().removeprefix(BOM_UTF8) for bare_line in above.splitlines())
    titles = (line for line in lines if line and not _SEP.match(line))
    width = len(header.cells)
    return Dialect(
        delimiter=header.delimiter,
        newline=newline,
        columns=map_columns(header.cells, search.aliases),
        lines_above=lines_above,
        title=printable(next(titles, b"")[:_SHOWN_BYTES].decode(errors="replace")),
        plain_header=above.count(newline) == lines_above
        and b'"' not in above
        and b"\n" not in line
        and b"\r" not in line
        and not (b'"' in line and (line.startswith(BOM_UTF8) or b"\\" in line)),
        body_start=header.end,
        form=RecordForm(
            header.delimiter.encode(), newline, width, width, max_bytes=max_record_bytes
        ),
    )


@dataclass(frozen=True)
class _Header:
    """A line that may be the header: [start, text_end), and its line end.

    A line may begin with byte order marks.
    """

    delimiter: str
    cells: list[str]
    start: int
    text_end: int
    end: int


def _find_header(
    head: bytes, start: int, delimiters: Sequence[str], search: HeaderSearch
) -> _Header:
    """The first line that names all columns.

    Raises:
        NoHeaderError: there is none.
        DeliveryRefusedError: the file is of another format.
    """
    nearest: tuple[int, _Header] | None = None
    number, line_start = 1, start
    while line_start < len(head):
        headers = [found for mark in delimiters if (found := _header(head, line_start, mark))]
        for header in headers:
            named = _columns_named(header.cells, search.aliases)
            if named == len(WANTED):
                if number <= search.lines:
                    return header
                raise NoHeaderError(header_below(number, search.lines))
            if number <= search.lines and (nearest is None or named > nearest[0]):
                nearest = (named, header)
        # A quoted text goes on in the next lines, and none of them is a header.
        below = max([line_end(head, line_start), *(found.end for found in headers)])
        number += sum(1 for _ in _lines(head[line_start:below]))
        line_start = below
    if (nearest is None or nearest[0] == 0) and (other_format := format_of(head)):
        raise DeliveryRefusedError(other_format.refusal)
    if nearest is None:
        msg = f"The header is not a line of CSV: {head[start : start + _SHOWN_BYTES]!r}."
        raise NoHeaderError(msg)
    other = None
    for line_start in islice(_lines(head, start), search.lines):
        line = head[line_start : line_end(head, line_start)][:_LINE_BYTES].decode(errors="replace")
        names_all = partial(_names_all, head, line_start, search)
        other = other or other_delimiter_in(line, names_all)
    cells, lines = nearest[1].cells, search.lines
    raise NoHeaderError(no_header(cells, search.aliases, lines, delimiters, other))


def _names_all(head: bytes, start: int, search: HeaderSearch, delimiter: str) -> bool:
    header = _header(head, start, delimiter)
    return header is not None and _columns_named(header.cells, search.aliases) == len(WANTED)


def _lines(head: bytes, start: int = 0) -> Iterator[int]:
    """Where each line begins."""
    while start < len(head):
        yield start
        start = line_end(head, start)


def _header(head: bytes, start: int, delimiter: str) -> _Header | None:
    begin = start
    while head.startswith(BOM_UTF8, begin):  # A mark before a quote would make it a bare one.
        begin += len(BOM_UTF8)
    form = RecordForm(delimiter.encode(), b"\n", 1, 1, bare_quotes=True)
    for grammar in (RecordGrammar(form), RecordGrammar(replace(form, backslash=True))):
        ends = grammar.record_of_any_width(head, begin)
        if ends and head.count(delimiter.encode(), begin, ends[0]) <= _MOST_DELIMITERS:
            return _Header(delimiter, grammar.fields(head[begin : ends[0]]), start, *ends)
    return None


def _columns_named(header: Sequence[str], aliases: Aliases) -> int:
    return sum(bool(positions) for positions in matches(header, aliases).values())
