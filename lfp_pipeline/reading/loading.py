"""Loads every record of a file into the table `rows`, in order: none may go missing unnoticed.

A clean file is read once, as it is. Where DuckDB objects to a record, or the lines of the file do
not add up to the rows that came out, the file is mended and the copy is read: it must come out
without an objection, and with as many rows as the grammar counts records.
"""

import logging
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import Dialect, detect_dialect
from lfp_pipeline.reading.lines import Lines, lines_counted
from lfp_pipeline.reading.mending import MendedCopy, mend
from lfp_pipeline.reading.plain_text import PlainText, in_its_encoding
from lfp_pipeline.reading.reject_limit import Elsewhere, RejectLimit
from lfp_pipeline.reading.rules import RowRules, rules_of
from lfp_pipeline.reading.scan import UNREADABLE, scan_of
from lfp_pipeline.settings import Settings

_MAX_MENDINGS = 4
_MAX_OBJECTIONS = 1_000

_FORGET_OBJECTIONS = "DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans"

_OBJECTIONS = "SELECT line_byte_position, lower(error_type::VARCHAR) FROM reject_errors"

_ROWS_AND_LINES = """
SELECT
    count(*), count(*) + coalesce(sum(line_breaks), 0),
    coalesce(bool_or(misread), false), coalesce(bool_or(irregular), false)
FROM rows
"""


@dataclass(frozen=True)
class LoadedFile:
    """What was read: the file with its dialect, and its mended copy if it took one.

    Attributes:
        rules: for its rows.
        limit: of its rejects.
        regular: whether no row is to be trimmed or rejected.
        notes: what people should know of how it was read.
    """

    path: Path
    dialect: Dialect
    rules: RowRules
    limit: RejectLimit
    mended: MendedCopy | None = None
    regular: bool = False
    notes: tuple[str, ...] = ()


def load_rows(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    folder: Path,
    settings: Settings,
    log: logging.Logger,
    elsewhere: Elsewhere,
) -> LoadedFile:
    """Create the table `rows` (sku, name, description) from a file.

    Args:
        connection: to the workspace.
        text: the file.
        folder: for a mended or recoded copy.
        settings: rules and limits.
        log: for what is odd.
        elsewhere: what the delivery holds beside this file.

    Raises:
        DeliveryRefusedError: it has no usable header, or cannot be read reliably.
    """
    if not text.is_readable:  # The header, too, depends on the encoding.
        text = in_its_encoding(text, settings.fallback_encoding, folder, log)
    dialect = dialect_of(text, settings)
    rules = rules_of(dialect, settings)
    size, width = text.path.stat().st_size, len(dialect.columns.header)
    limit = elsewhere.limit(settings.max_reject_share, size, width)
    file = LoadedFile(text.path, dialect, rules, limit, notes=text.notes)
    if dialect.plain_header and (loaded := _load_plainly(connection, file)):
        return loaded
    other = in_its_encoding(text, settings.fallback_encoding, folder, log)
    if other.encoding != text.encoding:
        return load_rows(connection, other, folder, settings, log, elsewhere)
    return replace(file, mended=_load_mended(connection, file, folder))


def dialect_of(text: PlainText, settings: Settings) -> Dialect:
    """How a file is written.

    Raises:
        DeliveryRefusedError: it has no usable header.
    """
    return detect_dialect(text.head, text.mark_length, settings.column_aliases)


def adds_up(lines: Lines, rows: int, lines_read: int, path: Path, dialect: Dialect) -> bool:
    """Whether each line of a file is the end of a row, or a line break in a value of one.

    Blank lines do not add up; then the grammar counts. It also does where quoted values seem to
    stand side by side.

    Args:
        lines: of the file.
        rows: how many were read from it.
        lines_read: the rows, and the line breaks within their values.
        path: the file.
        dialect: how it is written.
    """
    if lines.count == lines_read and not lines.side_by_side:
        return True
    if lines.count < lines_read:
        return False
    return _count_records(path, dialect, dialect.body_start) == rows


def _load_plainly(connection: duckdb.DuckDBPyConnection, file: LoadedFile) -> LoadedFile | None:
    """Read a file as it is; None: something of it went missing."""
    with lines_counted(file.path, file.dialect) as counting:
        if not _read(connection, file.path, file):
            return None
        found = connection.execute(_ROWS_AND_LINES).fetchall()[0]
        rows, lines_read, misread, irregular = found
        if misread or not adds_up(counting.result(), rows, lines_read, file.path, file.dialect):
            return None
        return replace(file, regular=not irregular)


def _load_mended(
    connection: duckdb.DuckDBPyConnection, file: LoadedFile, folder: Path
) -> MendedCopy:
    objections: dict[int, str] = {}
    for attempt in range(_MAX_MENDINGS):
        copy = folder / f"mended-{attempt}.csv"
        mended = mend(file.path, file.dialect, copy, file.limit, objections)
        connection.execute(_FORGET_OBJECTIONS)
        if _read(connection, copy, file, _MAX_OBJECTIONS):
            if _row_count(connection) == _count_records(copy, file.dialect):
                return mended
            break
        found = _objections(connection, mended, file.dialect)
        if found.keys() <= objections.keys():
            break
        objections |= found
        copy.unlink()
    msg = (
        "The file cannot be read reliably: its records do not begin and end where the CSV "
        "reader finds them. Nothing was taken. Write it again as plain CSV (RFC 4180)."
    )
    raise DeliveryRefusedError(msg)


def _read(
    connection: duckdb.DuckDBPyConnection, path: Path, file: LoadedFile, max_objections: int = 0
) -> bool:
    """Read a file, or its copy at `path`, into `rows`; whether DuckDB objected to nothing.

    Only a file with few objections may keep them: DuckDB gathers all of them, at a kilobyte each
    that does not count towards its memory limit. Otherwise it stops at the first.
    """
    scan = scan_of(path, file.dialect, file.rules, max_objections)
    try:
        connection.execute(f"CREATE OR REPLACE TABLE rows AS {scan.sql}", scan.parameters)
    except UNREADABLE:
        return False
    return not max_objections or connection.execute(_OBJECTIONS + " LIMIT 1").fetchone() is None


def _count_records(path: Path, dialect: Dialect, start: int | None = None) -> int | None:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        if start is not None:
            return dialect.grammar().count(buffer, start)
        counted = dialect.grammar().count(buffer, 0)
        return None if counted is None else counted - 1  # The header is a record, too.


def _row_count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT count(*) FROM rows").fetchall()[0][0])


def _objections(
    connection: duckdb.DuckDBPyConnection, mended: MendedCopy, dialect: Dialect
) -> dict[int, str]:
    """Where in the file DuckDB objects to what the grammar takes, and why."""
    try:
        found = connection.execute(_OBJECTIONS).fetchall()
    except duckdb.CatalogException:  # The reading broke off.
        return {}
    grammar = dialect.grammar()
    with mended.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        # DuckDB counts bytes from 1, and may point at the end of the line before.
        starts = {grammar.first_record_at(buffer, place - 1): reason for place, reason in found}
    return {mended.file_offset(start): reason for start, reason in starts.items()}
