"""Loads every record of a file into the table `rows`, in order: none may go missing unnoticed.

A clean file is read once, as it is. Where DuckDB objects to a record, or the bytes of the file do
not add up to the rows that came out, all records are looked at; the file is repaired, and the copy
is read: it must come out without an objection, and with as many rows as the grammar counts records.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect, detect_dialect
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.habits import form_by_habits, form_of_file
from lfp_pipeline.reading.header import header_search
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText, in_its_encoding
from lfp_pipeline.reading.quoting import Quoting, quoting_checked
from lfp_pipeline.reading.records import LINE_END, RecordForm, RecordGrammar
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.repair import RepairedCopy, write_repaired_copy
from lfp_pipeline.reading.rules import RowRules, rules_of
from lfp_pipeline.reading.scan import UNREADABLE, scan_of

_MAX_MENDINGS = 4
_MAX_OBJECTIONS = 1_000
_TAIL_BYTES = 1 << 16

_FORGET_OBJECTIONS = "DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans"

_OBJECTIONS = "SELECT line_byte_position, lower(error_type::VARCHAR) FROM reject_errors"

_LOAD = "CREATE OR REPLACE TABLE rows AS {scan}"

_COUNTS = """
SELECT count(*), coalesce(sum(text_bytes), 0), coalesce(bool_or(irregular), false) FROM rows
"""


@dataclass(frozen=True)
class LoadedFile:
    """What was read: the file with its dialect, and its mended copy if it took one.

    Attributes:
        rules: for its rows.
        limit: of its rejects.
        regular: whether no row is to be trimmed, skipped or rejected.
        empty_lines: between its records, and after them.
        notes: what people should know of how it was read.
    """

    path: Path
    dialect: Dialect
    rules: RowRules
    limit: RejectLimit
    mended: RepairedCopy | None = None
    regular: bool = False
    empty_lines: int = 0
    notes: tuple[str, ...] = ()


class PlainLoad(NamedTuple):
    """What was loaded of a plain file.

    Attributes:
        empty_lines: between its records, and after them.
        bare_quotes: whether no value is quoted, and all quotes are characters of values.
        irregular: whether any row may be one to trim, to skip or to reject.
    """

    empty_lines: int
    bare_quotes: bool
    irregular: bool


def load_rows(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
    limit: RejectLimit,
) -> LoadedFile:
    """Create the table `rows` (sku, name, description) from a file.

    Args:
        connection: to the workspace.
        text: the file.
        folder: for a mended or recoded copy.
        options: how the file is read.
        log: for what is odd.
        limit: of the rejects of the delivery, without this file.

    Raises:
        DeliveryRefusedError: it has no usable header, or cannot be read reliably.
    """
    original = text
    if not text.is_readable:  # The header, too, depends on the encoding.
        text = in_its_encoding(text, options.fallback_encoding, folder, log)
    try:
        dialect = dialect_of(text, options)
    except DeliveryRefusedError:
        is_recoded = text.encoding != original.encoding
        if is_recoded and (other_format := format_of(original.head)):
            raise DeliveryRefusedError(other_format.refusal) from None
        raise
    rules = rules_of(options)
    size = text.path.stat().st_size
    of_all = limit.with_text(size, dialect.form.fewest)
    file = LoadedFile(text.path, dialect, rules, of_all, notes=text.notes)
    if is_plain(dialect) and (
        plain := load_plainly(connection, text.path, dialect, rules, _LOAD, {}, _COUNTS)
    ):
        form = replace(dialect.form, bare_quotes=plain.bare_quotes)
        return replace(
            file,
            dialect=dialect.with_form(form),
            regular=not plain.irregular,
            empty_lines=plain.empty_lines,
        )
    other = in_its_encoding(text, options.fallback_encoding, folder, log)
    if other.encoding != text.encoding:
        return load_rows(connection, other, folder, options, log, limit)
    form = form_of_file(text.path, dialect, require_all_cells=options.require_all_cells)
    of_all = limit.with_text(size, form.fewest)
    file = replace(file, dialect=dialect.with_form(form), limit=of_all)
    mended = _load_mended(connection, file, folder)
    return replace(file, mended=mended, empty_lines=mended.empty_lines)


def dialect_of(text: PlainText, options: ReadOptions) -> Dialect:
    """How a file is written, as far as its first bytes show.

    Raises:
        DeliveryRefusedError: it has no usable header.
    """
    return dialect_of_head(text.head, text.mark_length, text.delimiter, options)


def header_of(text: PlainText, options: ReadOptions) -> Dialect:
    """How a file is written, as far as its header shows.

    Raises:
        DeliveryRefusedError: it has no usable header.
    """
    search = header_search(text.delimiter, options)
    return detect_dialect(text.head, text.mark_length, search, options.max_record_bytes)


def dialect_of_head(
    head: bytes, mark_length: int, delimiter: str | None, options: ReadOptions
) -> Dialect:
    """How a file is written that begins with these bytes of UTF-8.

    Raises:
        DeliveryRefusedError: it has no usable header.
    """
    search = header_search(delimiter, options)
    dialect = detect_dialect(head, mark_length, search, options.max_record_bytes)
    if len(head) == HEAD_BYTES:  # The last record may be cut off.
        head = head[: 1 + max(head.rfind(b"\n"), head.rfind(b"\r"), dialect.body_start - 1)]
    form = form_by_habits(head, dialect, require_all_cells=options.require_all_cells)
    return dialect.with_form(form)


def is_plain(dialect: Dialect) -> bool:
    """Whether DuckDB reads such a file in parallel, as it is."""
    form = dialect.form
    return dialect.plain_header and form.fewest == form.width and not form.backslash


def empty_lines_beside(
    rows: int, text_bytes: int, quoting: Quoting | None, path: Path, dialect: Dialect
) -> int | None:
    """How many lines of a file are empty, if all others are the rows that were read.

    Args:
        rows: how many were read.
        text_bytes: the size of all their values.
        quoting: of the file.
        path: the file.
        dialect: how it is written.

    Returns:
        The number; None: something is missing, was cut, or was read twice.
    """
    if quoting is None:
        return None
    form, newline = dialect.form, len(dialect.form.newline)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        body = len(buffer) - dialect.body_start
        tail = buffer[max(dialect.body_start, len(buffer) - _TAIL_BYTES) :]
        tail_bytes = len(tail) - len(tail.rstrip(b"\r\n"))
        if tail_bytes and tail[-newline:] != form.newline:  # Other line ends than the header's.
            return None
        kept = text_bytes + quoting.dropped_bytes + rows * (form.width - 1 + newline)
        if rows and not tail_bytes:  # The last row has no line end.
            kept -= newline
        beside = body - kept
        if beside <= 0:
            return 0 if beside == 0 else None
        ends = LINE_END.findall(tail[len(tail) - tail_bytes :])
        if rows and ends[:1] == [form.newline]:
            ends = ends[1:]  # That of the last row.
        if beside == sum(map(len, ends)):
            return len(ends)
        # The bytes of empty lines between rows, or of something else: only the grammar knows.
        grammar = RecordGrammar(replace(form, bare_quotes=quoting.bare))
        if grammar.count(buffer, dialect.body_start) != rows:
            return None
        lines, empty_bytes = grammar.empty_lines(buffer, dialect.body_start)
        return lines if empty_bytes == beside else None


def load_plainly(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    dialect: Dialect,
    rules: RowRules,
    load: str,
    parameters: Mapping[str, Any],
    counts: str,
) -> PlainLoad | None:
    """Load a plain file in parallel, as it is, and prove that nothing of it went missing.

    Args:
        connection: to the workspace.
        path: the file.
        dialect: how it is written.
        rules: for its rows.
        load: a statement that loads the rows of `{scan}`.
        parameters: what is bound to it, beside those of the scan.
        counts: asks for the number of rows loaded, the size of all their values, and whether any
            row is irregular.

    Returns:
        What was loaded; None: DuckDB objects, or something of the file went missing.
    """
    with quoting_checked(path, dialect) as checking:
        scan = scan_of(path, dialect, rules)
        try:
            connection.execute(load.format(scan=scan.sql), scan.parameters | {**parameters})
        except UNREADABLE:
            return None
        rows, text_bytes, irregular = connection.execute(counts).fetchall()[0]
        quoting = checking.result()
    empty_lines = empty_lines_beside(rows, text_bytes, quoting, path, dialect)
    if quoting is None or empty_lines is None:
        return None
    return PlainLoad(empty_lines, quoting.bare, irregular)


def _load_mended(
    connection: duckdb.DuckDBPyConnection, file: LoadedFile, folder: Path
) -> RepairedCopy:
    objections: dict[int, str] = {}
    for attempt in range(_MAX_MENDINGS):
        copy = folder / f"mended-{attempt}.csv"
        mended = write_repaired_copy(file.path, file.dialect, copy, file.limit, objections)
        connection.execute(_FORGET_OBJECTIONS)
        if _read_copy(connection, copy, file):
            if _row_count(connection) == _count_records(copy, mended.form):
                return mended
            break
        found = _objections(connection, mended)
        if found.keys() <= objections.keys():
            break
        objections |= found
        copy.unlink()
    msg = (
        "The file cannot be read reliably: its records do not begin and end where the CSV "
        "reader finds them. Nothing was taken. Write it again as plain CSV (RFC 4180)."
    )
    raise DeliveryRefusedError(msg)


def _read_copy(connection: duckdb.DuckDBPyConnection, copy: Path, file: LoadedFile) -> bool:
    """Read the repaired copy of a file into `rows`; whether DuckDB objected to nothing.

    Only a copy may keep objections, because it has few: DuckDB gathers all of them, at a kilobyte
    each that does not count towards its memory limit.
    """
    scan = scan_of(copy, file.dialect, file.rules, copy=True, max_objections=_MAX_OBJECTIONS)
    try:
        connection.execute(_LOAD.format(scan=scan.sql), scan.parameters)
    except UNREADABLE:
        return False
    return connection.execute(_OBJECTIONS + " LIMIT 1").fetchone() is None


def _count_records(copy: Path, form: RecordForm) -> int | None:
    with copy.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        counted = RecordGrammar(form).count(buffer, 0)
        return None if counted is None else counted - 1  # The header is a record, too.


def _row_count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute("SELECT count(*) FROM rows").fetchall()[0][0])


def _objections(connection: duckdb.DuckDBPyConnection, mended: RepairedCopy) -> dict[int, str]:
    """Where in the file DuckDB objects to what the grammar takes, and why."""
    try:
        found = connection.execute(_OBJECTIONS).fetchall()
    except duckdb.CatalogException:  # The reading broke off.
        return {}
    grammar = RecordGrammar(mended.form)
    with mended.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as buffer:
        # DuckDB counts bytes from 1, and may point at the end of the line before.
        starts = {grammar.first_record_at(buffer, place - 1): reason for place, reason in found}
    return {mended.file_offset(start): reason for start, reason in starts.items()}
