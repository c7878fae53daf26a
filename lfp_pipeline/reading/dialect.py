"""The dialect of a file: its delimiter, line ends, header, and the form of its records."""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass

from lfp_pipeline.common.text import printable
from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.columns import ColumnMap, map_columns
from lfp_pipeline.reading.header import SHOWN_BYTES, find_header, line_starts
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.records import RecordForm, RecordGrammar

HEAD_BYTES = 1 << 18
"""Size of the part of a file that shows its dialect; a header must be shorter."""

MAX_COLUMNS = 2_000
"""Most columns of a file. DuckDB does not count its memory for each column towards its limit."""

DELIMITERS = (",", ";", "\t", "|")

_SEP_LINE = re.compile(rb'"?sep=([!#-/:-@[-`{-~\t])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_SEP = re.compile(rb'"?sep=', re.IGNORECASE)
_BLANKS = re.compile(rb"[ \t\r\n]*+")


@dataclass(frozen=True)
class Dialect:
    """The dialect of one file.

    Attributes:
        lines_above: number of lines before the header.
        title: for people, the first of these lines that is neither blank nor a `sep=` line.
        plain_header: whether DuckDB finds the header: on one line, after lines with the same line
            end.
        body_start: offset of the first record, in bytes.
        form: of the records; they are expected to end as the header does.
    """

    delimiter: str
    columns: ColumnMap
    lines_above: int
    title: str
    plain_header: bool
    body_start: int
    form: RecordForm

    def grammar(self) -> RecordGrammar:
        """Return the grammar of this file's records."""
        return RecordGrammar(self.form)


def detect_dialect(
    head: bytes, mark_length: int, delimiter: str | None, options: ReadOptions
) -> Dialect:
    """Return the dialect that the first bytes of a file show, in UTF-8.

    The header is the first line that names all wanted columns with a delimiter: that of the source,
    or one of `DELIMITERS`. Nothing is guessed from the rows, which may contain anything. The
    first `mark_length` bytes are byte order marks. The lines above the header are skipped: titles,
    comments, blank lines.

    Raises:
        DeliveryRefusedError: the file is empty, has no header, or names too many columns.
    """
    delimiters, start = [delimiter] if delimiter else list(DELIMITERS), mark_length
    if sep := _SEP_LINE.match(head, start):
        delimiters, start = [sep[1].decode()], sep.end()
    if _BLANKS.fullmatch(head, start):
        msg = "The file is empty: it has no header and no rows. Deliver it with its content."
        raise DeliveryRefusedError(msg)
    header = find_header(head, start, delimiters, options)
    if header.end >= HEAD_BYTES:
        msg = (
            f"The header is longer than {HEAD_BYTES:,} bytes. Shorten its names, or remove columns."
        )
        raise DeliveryRefusedError(msg)
    if len(header.cells) > MAX_COLUMNS:
        msg = (
            f"The header names {len(header.cells):,} columns; at most {MAX_COLUMNS:,} are read. "
            "Remove some of them."
        )
        raise DeliveryRefusedError(msg)
    newline = head[header.text_end : header.end] or b"\n"
    above, line = head[mark_length : header.start], head[header.start : header.text_end]
    lines_above = sum(1 for _ in line_starts(above))
    texts = (text.strip().removeprefix(BOM_UTF8) for text in above.splitlines())
    title = next((text for text in texts if text and not _SEP.match(text)), b"")
    width = len(header.cells)
    return Dialect(
        delimiter=header.delimiter,
        columns=map_columns(header.cells, options.column_aliases),
        lines_above=lines_above,
        title=printable(title[:SHOWN_BYTES].decode(errors="replace")),
        plain_header=above.count(newline) == lines_above
        and b'"' not in above
        and b"\n" not in line
        and b"\r" not in line
        and not (b'"' in line and (line.startswith(BOM_UTF8) or b"\\" in line)),
        body_start=header.end,
        form=RecordForm(
            header.delimiter.encode(), newline, width, width, max_bytes=options.max_record_bytes
        ),
    )
