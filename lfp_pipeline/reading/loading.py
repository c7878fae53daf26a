"""Loading of every record of a file into the table `rows`, in order, with a proof of completeness.

A clean file is read once, unchanged. If DuckDB objects to a record, or the bytes of the file do not
add up to the loaded rows, the grammar examines all records and writes a repaired copy. The copy
must load without an objection, and with as many rows as the grammar counts records.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect, detect_dialect
from lfp_pipeline.reading.file_formats import format_of
from lfp_pipeline.reading.habits import form_by_habits
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText, in_its_encoding
from lfp_pipeline.reading.quoting import Quoting, quoting_checked
from lfp_pipeline.reading.records import LINE_END, RecordForm, RecordGrammar, mapped
from lfp_pipeline.reading.reject_limit import RejectLimit
from lfp_pipeline.reading.repair import RepairedCopy, write_repaired_copy
from lfp_pipeline.reading.scan import UNREADABLE, scan_of

_MAX_REPAIRS = 4
_MAX_OBJECTIONS = 1_000
_TAIL_BYTES = 1 << 16

_OBJECTIONS = "SELECT line_byte_position, lower(error_type::VARCHAR) FROM reject_errors"

LOAD_ROWS = "CREATE OR REPLACE TABLE {table} AS {scan}"
"""Loads the rows of a scan into a table of the workspace."""

ROW_COUNTS = """
SELECT count(*), coalesce(sum(text_bytes), 0), coalesce(bool_or(irregular), false)
FROM {table}
"""
"""Returns what `load_plainly` has to know about such a table."""


_LOAD = LOAD_ROWS.format(table="rows", scan="{scan}")
_COUNTS = ROW_COUNTS.format(table="rows")


@dataclass(frozen=True)
class LoadedFile:
    """A loaded file.

    Attributes:
        path: of the file, in UTF-8.
        limit: of its rejects.
        repaired: the copy that was loaded instead; None: the file itself was loaded.
        regular: whether no row needs trimming, skipping or rejecting.
        has_bare_quotes: whether quotes are characters of values that are not quoted; known only of
            a file that was loaded itself.
        empty_lines: number of empty lines between its records and after them.
        notes: sentences for people about the reading.
    """

    path: Path
    dialect: Dialect
    limit: RejectLimit
    repaired: RepairedCopy | None = None
    regular: bool = False
    has_bare_quotes: bool = False
    empty_lines: int = 0
    notes: tuple[str, ...] = ()


def load_rows(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
    limit: RejectLimit,
) -> LoadedFile:
    """Create the table `rows` (sku, name, description) from a file.

    `folder` gets a repaired or recoded copy. `limit` counts only the other texts of the delivery.

    Raises:
        DeliveryRefusedError: the file has no usable header, or cannot be read reliably.
    """
    original = text
    if not text.is_readable:  # The encoding also decides where the header is.
        text = in_its_encoding(text, options.fallback_encoding, folder, log)
    try:
        dialect = dialect_of(text, options)
    except DeliveryRefusedError:
        is_recoded = text.encoding != original.encoding
        if is_recoded and (other_format := format_of(original.head)):
            raise DeliveryRefusedError(other_format.refusal()) from None
        raise
    if is_plain(dialect) and (
        plain := load_plainly(connection, text, dialect, options, limit, _LOAD, {}, _COUNTS)
    ):
        return plain
    other = in_its_encoding(text, options.fallback_encoding, folder, log)
    if other.encoding != text.encoding:
        return load_rows(connection, other, folder, options, log, limit)
    with mapped(text.path) as buffer:
        form = form_by_habits(buffer, dialect, require_all_cells=options.require_all_cells)
    of_all = limit.with_text(text.path.stat().st_size, form.fewest)
    file = LoadedFile(text.path, replace(dialect, form=form), of_all, notes=text.notes)
    repaired = _load_repaired(connection, file, options, folder)
    return replace(file, repaired=repaired, empty_lines=repaired.empty_lines)


def dialect_of(text: PlainText, options: ReadOptions) -> Dialect:
    """Return the dialect of a file, as its first bytes show it."""
    return dialect_of_head(text.head, text.mark_length, text.delimiter, options)


def dialect_of_head(
    head: bytes, mark_length: int, delimiter: str | None, options: ReadOptions
) -> Dialect:
    """Return the dialect of a file with these first bytes, in UTF-8.

    Raises:
        DeliveryRefusedError: the file has no usable header.
    """
    dialect = detect_dialect(head, mark_length, delimiter, options)
    if len(head) == HEAD_BYTES:  # The last record may be cut off.
        head = head[: 1 + max(head.rfind(b"\n"), head.rfind(b"\r"), dialect.body_start - 1)]
    form = form_by_habits(head, dialect, require_all_cells=options.require_all_cells)
    return replace(dialect, form=form)


def is_plain(dialect: Dialect) -> bool:
    """Return whether DuckDB can read such a file unchanged, and in parallel."""
    form = dialect.form
    return dialect.plain_header and form.fewest == form.width and not form.backslash


def empty_lines_beside(
    rows: int, text_bytes: int, quoting: Quoting | None, path: Path, dialect: Dialect
) -> int | None:
    """Return the number of empty lines of a file, if its other bytes are exactly the loaded rows.

    `text_bytes` is the size of all values of these rows. None: bytes are missing, were cut off, or
    were read twice.
    """
    if quoting is None:
        return None
    form, newline = dialect.form, len(dialect.form.newline)
    with mapped(path) as buffer:
        body = len(buffer) - dialect.body_start
        tail = buffer[max(dialect.body_start, len(buffer) - _TAIL_BYTES) :]
        tail_bytes = len(tail) - len(tail.rstrip(b"\r\n"))
        if tail_bytes and tail[-newline:] != form.newline:  # Not the line end of the header.
            return None
        kept = text_bytes + quoting.dropped_bytes + rows * (form.width - 1 + newline)
        if rows and not tail_bytes:  # The last row has no line end.
            kept -= newline
        beside = body - kept
        if beside <= 0:
            return 0 if beside == 0 else None
        ends = LINE_END.findall(tail[len(tail) - tail_bytes :])
        if rows and ends[:1] == [form.newline]:
            ends = ends[1:]  # The first ends the last row.
        if beside == sum(map(len, ends)):
            return len(ends)
        # The other bytes may be empty lines between rows; only the grammar can decide that.
        grammar = RecordGrammar(replace(form, bare_quotes=quoting.bare))
        if grammar.count(buffer, dialect.body_start) != rows:
            return None
        lines, empty_bytes = grammar.empty_lines(buffer, dialect.body_start)
        return lines if empty_bytes == beside else None


def load_plainly(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    dialect: Dialect,
    options: ReadOptions,
    limit: RejectLimit,
    load: str,
    parameters: Mapping[str, Any],
    counts: str,
) -> LoadedFile | None:
    """Load a plain file unchanged and in parallel, and prove that the load is complete.

    The statement `load` loads the rows of the query `{scan}`; it may have more `parameters` than
    that query. The query `counts` returns the number of loaded rows, the size of all their values,
    and whether any row is irregular. Return None if DuckDB objects, or bytes of the file are not
    accounted for.
    """
    with quoting_checked(text.path, dialect) as checking:
        scan, bound = scan_of(text.path, dialect, options)
        try:
            connection.execute(load.format(scan=scan), bound | {**parameters})
        except UNREADABLE:
            return None
        rows, text_bytes, irregular = connection.execute(counts).fetchall()[0]
        quoting = checking.result()
    empty_lines = empty_lines_beside(rows, text_bytes, quoting, text.path, dialect)
    if quoting is None or empty_lines is None:
        return None
    return LoadedFile(
        text.path,
        replace(dialect, form=replace(dialect.form, bare_quotes=quoting.bare)),
        limit.with_text(text.path.stat().st_size, dialect.form.fewest),
        regular=not irregular,
        has_bare_quotes=quoting.bare and quoting.quotes > 0,
        empty_lines=empty_lines,
        notes=text.notes,
    )


def _load_repaired(
    connection: duckdb.DuckDBPyConnection, file: LoadedFile, options: ReadOptions, folder: Path
) -> RepairedCopy:
    objections: dict[int, str] = {}
    for attempt in range(_MAX_REPAIRS):
        copy = folder / f"repaired-{attempt}.csv"
        repaired = write_repaired_copy(file.path, file.dialect, copy, file.limit, objections)
        connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
        if _read_copy(connection, copy, file, options):
            ((rows,),) = connection.execute("SELECT count(*) FROM rows").fetchall()
            if rows == _count_records(copy, repaired.form):
                return repaired
            break
        found = _objections(connection, repaired)
        if found.keys() <= objections.keys():
            break
        objections |= found
        copy.unlink()
    msg = (
        "The file cannot be read reliably: its records do not begin and end where the CSV "
        "reader finds them. Nothing was merged. Write it again as plain CSV (RFC 4180)."
    )
    raise DeliveryRefusedError(msg)


def _read_copy(
    connection: duckdb.DuckDBPyConnection, copy: Path, file: LoadedFile, options: ReadOptions
) -> bool:
    """Load the repaired copy of a file into `rows`; return whether DuckDB objected to nothing.

    Only a copy keeps objections, because it has few: DuckDB collects all of them, and does not
    count the kilobyte of each towards its memory limit.
    """
    scan, bound = scan_of(copy, file.dialect, options, copy=True, max_objections=_MAX_OBJECTIONS)
    try:
        connection.execute(LOAD_ROWS.format(table="rows", scan=scan), bound)
    except UNREADABLE:
        return False
    return connection.execute(_OBJECTIONS + " LIMIT 1").fetchone() is None


def _count_records(copy: Path, form: RecordForm) -> int | None:
    with mapped(copy) as buffer:
        counted = RecordGrammar(form).count(buffer, 0)
        return None if counted is None else counted - 1  # The header is a record.


def _objections(connection: duckdb.DuckDBPyConnection, repaired: RepairedCopy) -> dict[int, str]:
    """Return the offsets in the file of good records that DuckDB objects to, with its reasons."""
    try:
        found = connection.execute(_OBJECTIONS).fetchall()
    except duckdb.CatalogException:  # The query failed before it kept any.
        return {}
    grammar = RecordGrammar(repaired.form)
    with mapped(repaired.path) as buffer:
        # DuckDB counts bytes from 1, and may point at the end of the previous line.
        starts = {grammar.first_record_at(buffer, byte - 1): reason for byte, reason in found}
    return {repaired.file_offset(start): reason for start, reason in starts.items()}
