"""How a file is written: its delimiter, its line ends, its header."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import Aliases, ColumnMap, map_columns, matches
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.records import RecordGrammar

HEAD_BYTES = 1 << 18
"""How much of a file is looked at. A header is shorter."""

MAX_COLUMNS = 2_000
"""What DuckDB needs for each column does not count towards its memory limit."""

DELIMITERS = (",", ";", "\t", "|")

_SHOWN_BYTES = 100

_SEP_LINE = re.compile(rb'"?sep=([!#-/:-@[-`{-~\t])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_BLANK_LINES = re.compile(rb"(?:[ \t]*[\r\n])*")


@dataclass(frozen=True)
class Dialect:
    """How one file is written.

    Attributes:
        delimiter: one character.
        newline: what ends the header, and so is expected to end every record.
        columns: which column is which.
        plain_header: whether the file begins with its header, on one line: all that DuckDB skips
            safely. After a `sep=` line, or with a line break in a name, it loses rows.
        body_start: where the first record begins, in bytes.
    """

    delimiter: str
    newline: bytes
    columns: ColumnMap
    plain_header: bool
    body_start: int

    def grammar(self) -> RecordGrammar:
        """The grammar of this file's records."""
        width = len(self.columns.header)
        return RecordGrammar(self.delimiter.encode(), self.newline, width)


def detect_dialect(head: bytes, mark_length: int, aliases: Aliases) -> Dialect:
    """Look at a file's first bytes: UTF-8, after a byte order mark of `mark_length` bytes.

    The delimiter is the one that makes the header name the columns we want: no guess from the
    rows, which may hold anything.

    Raises:
        DeliveryRefusedError: the file is empty, or its header does not name the columns, or
            names too many.
    """
    delimiters, start = list(DELIMITERS), mark_length
    if sep := _SEP_LINE.match(head, start):
        delimiters, start = [sep[1].decode()], sep.end()
    if blank_lines := _BLANK_LINES.match(head, start):
        start = blank_lines.end()
    if start >= len(head):
        msg = "The file is empty: it has no header and no rows."
        raise DeliveryRefusedError(msg)
    headers = {
        mark: header for mark in delimiters if (header := _header(head, start, mark)) is not None
    }
    named = (_columns_named(header.cells, aliases) for header in headers.values())
    if not any(named) and (found := format_of(head)):
        raise DeliveryRefusedError(found.refusal)
    if not headers:
        msg = f"The header is not a line of CSV: {head[start : start + _SHOWN_BYTES]!r}."
        raise DeliveryRefusedError(msg)
    delimiter = max(headers, key=lambda mark: _columns_named(headers[mark].cells, aliases))
    header = headers[delimiter]
    if header.end >= HEAD_BYTES:
        msg = f"The header is longer than {HEAD_BYTES:,} bytes."
        raise DeliveryRefusedError(msg)
    if len(header.cells) > MAX_COLUMNS:
        msg = f"The header names {len(header.cells):,} columns; at most {MAX_COLUMNS:,} are read."
        raise DeliveryRefusedError(msg)
    line = head[start : header.text_end]
    return Dialect(
        delimiter=delimiter,
        newline=head[header.text_end : header.end] or b"\n",
        columns=map_columns(header.cells, aliases),
        plain_header=start == mark_length and b"\n" not in line and b"\r" not in line,
        body_start=header.end,
    )


@dataclass(frozen=True)
class _Header:
    cells: list[str]
    text_end: int
    end: int


def _header(head: bytes, start: int, delimiter: str) -> _Header | None:
    grammar = RecordGrammar(delimiter.encode(), b"\n", 1)
    ends = grammar.header_record(head, start)
    return _Header(grammar.fields(head[start : ends[0]]), *ends) if ends else None


def _columns_named(header: Sequence[str], aliases: Aliases) -> int:
    return sum(bool(positions) for positions in matches(header, aliases).values())
