"""Reading of one text of a delivery: its rows, and the rejected and skipped records."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.habits import form_notes
from lfp_pipeline.reading.loading import LoadedFile, load_rows
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS, insert_rejects, located, unreadable_records
from lfp_pipeline.reading.rules import broken_rules, clean_values, skip_blank_rows, skip_headers


@dataclass(frozen=True)
class SkippedLines:
    """Numbers of lines of a file that are neither rows nor rejects.

    Attributes:
        blank: empty lines, and rows of only delimiters and white space.
        repeated_headers: rows that repeat the header.
        above_header: all lines before the header.
    """

    blank: int = 0
    repeated_headers: int = 0
    above_header: int = 0

    def __add__(self, other: "SkippedLines") -> "SkippedLines":
        return SkippedLines(
            self.blank + other.blank,
            self.repeated_headers + other.repeated_headers,
            self.above_header + other.above_header,
        )


@dataclass(frozen=True)
class TextRead:
    """One text of a delivery, after its reading.

    Attributes:
        text: as it was unpacked.
        ignored_columns: names in its header that are not read.
        repaired: whether a repaired copy was read.
        has_bare_quotes: whether quotes are characters of values that are not quoted.
        notes: sentences for people about the reading.
        size_bytes: size in UTF-8.
    """

    text: PlainText
    ignored_columns: Sequence[str]
    repaired: bool
    has_bare_quotes: bool
    skipped: SkippedLines
    notes: Sequence[str]
    size_bytes: int

    @classmethod
    def of(cls, text: PlainText, loaded: LoadedFile, blank_rows: int = 0, headers: int = 0) -> Self:
        """Return a loaded text, with the blank rows and repeated headers skipped after loading."""
        if loaded.repaired is not None:
            blank_rows += loaded.repaired.blank_rows
            headers += loaded.repaired.repeated_headers
        dialect = loaded.dialect
        return cls(
            text,
            dialect.columns.ignored,
            loaded.repaired is not None,
            loaded.has_bare_quotes,
            SkippedLines(loaded.empty_lines + blank_rows, headers, dialect.lines_above),
            [*loaded.notes, *form_notes(loaded.path, dialect)],
            loaded.path.stat().st_size,
        )


@contextmanager
def naming(member: str) -> Iterator[None]:
    """Prefix a refusal within the block with the name of a member, if it has one."""
    try:
        yield
    except DeliveryRefusedError as error:
        if member:
            error.args = (f"In {member}: {error}", *error.args[1:])
        raise


def read_text(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
    limit: RejectLimit,
) -> TextRead:
    """Read one text of a delivery into `rows`, `rejects` and `excluded`.

    `folder` gets a repaired or recoded copy. `limit` counts only the other texts of the delivery.

    Raises:
        DeliveryRefusedError: the text cannot be read as products.
    """
    with naming(text.name):
        loaded = load_rows(connection, text, folder, options, log, limit)
        connection.execute(CREATE_REJECTS)
        if loaded.regular:
            return TextRead.of(text, loaded)
        rejected = insert_rejects(connection, unreadable_records(connection, loaded))
        clean_values(connection, options)
        blank_rows = skip_blank_rows(connection)
        headers = skip_headers(connection, options)
        bare = loaded.dialect.form.bare_quotes
        broken = broken_rules(connection, options, loaded.limit, rejected, bare_quotes=bare)
        insert_rejects(connection, located(broken, loaded))
        return TextRead.of(text, loaded, blank_rows, headers)
