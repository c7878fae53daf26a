"""How a file is written: its delimiter, its line ends, its header, and what its writer does."""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass, replace

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import ColumnMap, map_columns
from lfp_pipeline.reading.header import SHOWN_BYTES, HeaderSearch, find_header, line_starts
from lfp_pipeline.reading.records import RecordForm, RecordGrammar

HEAD_BYTES = 1 << 18
"""How much of a file is looked at. A header is shorter."""

MAX_COLUMNS = 2_000
"""What DuckDB needs for each column does not count towards its memory limit."""

DELIMITERS = (",", ";", "\t", "|")

_SEP_LINE = re.compile(rb'"?sep=([!#-/:-@[-`{-~\t])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_SEP = re.compile(rb'"?sep=', re.IGNORECASE)
_BLANKS = re.compile(rb"[ \t\r\n]*+")


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
    header = find_header(head, start, delimiters, search)
    if header.end >= HEAD_BYTES:
        msg = f"The header is longer than {HEAD_BYTES:,} bytes."
        raise DeliveryRefusedError(msg)
    if len(header.cells) > MAX_COLUMNS:
        msg = f"The header names {len(header.cells):,} columns; at most {MAX_COLUMNS:,} are read."
        raise DeliveryRefusedError(msg)
    newline = head[header.text_end : header.end] or b"\n"
    above, line = head[mark_length : header.start], head[header.start : header.text_end]
    lines_above = sum(1 for _ in line_starts(above))
    lines = (bare_line.strip().removeprefix(BOM_UTF8) for bare_line in above.splitlines())
    titles = (line for line in lines if line and not _SEP.match(line))
    width = len(header.cells)
    return Dialect(
        delimiter=header.delimiter,
        newline=newline,
        columns=map_columns(header.cells, search.aliases),
        lines_above=lines_above,
        title=printable(next(titles, b"")[:SHOWN_BYTES].decode(errors="replace")),
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
