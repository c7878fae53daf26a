"""How a file is written: its delimiter, its line ends, its header."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import Aliases, ColumnMap, map_columns, matches
from lfp_pipeline.reading.records import RecordGrammar

HEAD_BYTES = 1 << 18
"""How much of a file is looked at. A header is shorter."""

DELIMITERS = (",", ";", "\t", "|")

_SEP_LINE = re.compile(rb'"?sep=(.)"?(?:\r\n|\r|\n)', re.IGNORECASE)
_BLANK_LINES = re.compile(rb"(?:[ \t]*[\r\n])*")
_HEADER_LINE = re.compile(rb'(?:[^"\r\n]|"[^"]*")*+')
_LINE_END = re.compile(rb"\r\n|\r|\n|")


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
        DeliveryRefusedError: the file is empty, or its header does not name the columns.
    """
    delimiters, start = list(DELIMITERS), mark_length
    if sep := _SEP_LINE.match(head, start):
        delimiters, start = [sep[1].decode("latin-1")], sep.end()
    start = _end(_BLANK_LINES, head, start)
    if start >= len(head):
        msg = "The file is empty: it has no header and no rows."
        raise DeliveryRefusedError(msg)
    end = _end(_HEADER_LINE, head, start)
    after = _end(_LINE_END, head, end)
    line, newline = head[start:end], head[end:after]
    if not newline and end < len(head):
        msg = f"The header is not a line of CSV: it breaks off at {head[end : end + 20]!r}."
        raise DeliveryRefusedError(msg)
    headers = {mark: RecordGrammar(mark.encode(), b"\n", 1).fields(line) for mark in delimiters}
    delimiter = max(headers, key=lambda mark: _columns_named(headers[mark], aliases))
    return Dialect(
        delimiter=delimiter,
        newline=newline or b"\n",
        columns=map_columns(headers[delimiter], aliases),
        plain_header=start == mark_length and b"\n" not in line and b"\r" not in line,
        body_start=after,
    )


def _columns_named(header: Sequence[str], aliases: Aliases) -> int:
    return sum(bool(positions) for positions in matches(header, aliases).values())


def _end(pattern: re.Pattern[bytes], head: bytes, start: int) -> int:
    match = pattern.match(head, start)
    return match.end() if match else start
