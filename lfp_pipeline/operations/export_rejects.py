"""Writes rejected rows as CSV files, to be fixed and dropped into the inbox again.

The first columns are those of a product; the reader ignores the others. If the fields cannot be
separated, or would be accepted unchanged, only `raw` is filled in: fixing one row of the file does
not accept another row that was rejected.
"""

import csv
import io
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.common.atomic_files import commit_file, stale_temporaries, temporary_sibling
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import (
    DeliveryRefusedError,
    LandingError,
    LfpError,
    RawFileError,
    ReadingTimeoutError,
)
from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import key_hint
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS, REQUIRED_COLUMNS
from lfp_pipeline.operations.attention import inbox_of, rejects_file_name, rejects_to_fix
from lfp_pipeline.operations.read_tables import Row, rows_of
from lfp_pipeline.reading.compression import peek
from lfp_pipeline.reading.dialect import HEAD_BYTES, Dialect
from lfp_pipeline.reading.encoding import beyond_ascii_in, to_utf8
from lfp_pipeline.reading.loading import dialect_of_head
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import header_check
from lfp_pipeline.reading.text_encoding import encoding_by_head, other_encoding
from lfp_pipeline.reading.unpacking import contents

OTHER_COLUMNS = (
    *("reason", "detail", "row_number", "byte_start", "byte_end", "raw"),
    *("delivery_id", "partition_key"),
)

_NOTHING = ("", "", "")

# Spreadsheets run texts with these beginnings as formulas, which a hostile file may exploit. Only
# this export is meant for spreadsheets, so only here the text is changed.
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")
_NO_FORMULA = "'"

_REJECTED_AGAIN = {
    # Zero bytes are not listed: spreadsheets drop them.
    *(f"no {column}" for column in REQUIRED_COLUMNS),
    *(f"{column} too long" for column in PRODUCT_COLUMNS),
}
"""Reasons that the values show again. A row with any other reason is written without its sku."""

_PAGE_ROWS = 1_000

# Of a partition, the newest delivery: it may have the rows that an older one lacked.
_NAMED = """
SELECT partition_key, delivery_id, source, status,
    (SELECT count(*) FROM warehouse.rejected_rows AS r WHERE r.delivery_id = d.delivery_id)
        AS rejects
FROM warehouse.deliveries AS d
WHERE delivery_id = $delivery_id
    OR partition_key = $partition_key AND status NOT IN ('failed', 'reverted')
ORDER BY delivered_at DESC, delivery_id DESC
LIMIT 1
"""

_REJECTS = """
SELECT reason, detail, row_number, byte_start, byte_end, raw
FROM warehouse.rejected_rows WHERE delivery_id = $delivery_id AND row_number > $after
ORDER BY row_number
LIMIT $limit
"""


@dataclass(frozen=True)
class RejectsFile:
    """The file with the rejects of one delivery.

    Attributes:
        source: of the delivery.
        needs_attention: whether the rejected rows are still to be fixed or dismissed.
        refused: whether the whole delivery was refused.
        escaped: number of product values that got an apostrophe, so that they are no formulas.
        kept: whether the file existed with other contents, and so was not overwritten.
    """

    path: Path
    partition_key: str
    delivery_id: str
    source: str
    needs_attention: bool
    refused: bool
    rows: int
    escaped: int
    kept: bool


def export_rejects(
    engine: Engine,
    log: logging.Logger,
    *,
    partition_key: str | None = None,
    delivery_id: str | None = None,
) -> list[RejectsFile]:
    """Write the rejects that need attention, or those of a partition's newest delivery, or of one.

    Raises:
        LfpError: the partition or delivery is unknown, or the database is busy.
    """
    settings = engine.settings
    if not engine.warehouse.exists:
        msg = f"There is no database at {engine.warehouse.location}. Run `lfp ingest` first."
        raise LfpError(msg)
    for leftover in stale_temporaries(settings.rejects_dir):
        log.info("Removing %s, left by an export that was killed", leftover)
    with _session(engine, log) as connection:
        deliveries = to_fix = rejects_to_fix(engine, connection, inbox_of(engine))
        if partition_key or delivery_id:
            deliveries = rows_of(
                connection, _NAMED, {"partition_key": partition_key, "delivery_id": delivery_id}
            )
        if not deliveries and (partition_key or delivery_id):
            what = f"delivery {delivery_id}" if delivery_id else f"partition {partition_key}"
            msg = f"There is no {what} in the table deliveries."
            if partition_key:
                msg += key_hint(partition_key)
            raise LfpError(msg)
        ids = {row["delivery_id"] for row in to_fix}
        return [
            _export(connection, engine, row, needs_attention=row["delivery_id"] in ids)
            for row in deliveries
            if row["rejects"]
        ]


def _session(
    engine: Engine, log: logging.Logger
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Return a session on the published copy if the tables have not changed since; else on these.

    The copy may lack the rejects that have just been reported.
    """
    if engine.published.exists and not engine.published.is_stale:
        return engine.published.session()
    # A person waits at the keyboard, so give up early.
    warehouse = engine.warehouse.waiting(engine.settings.other_process_wait_seconds)
    return warehouse.session("exporting rejects", log)


def _export(
    connection: duckdb.DuckDBPyConnection, engine: Engine, delivery: Row, *, needs_attention: bool
) -> RejectsFile:
    key, delivery_id = delivery["partition_key"], delivery["delivery_id"]
    path = engine.settings.rejects_dir / rejects_file_name(delivery_id)
    dialect = _dialect(engine, key, delivery_id)
    rows = escaped = 0
    with temporary_sibling(path) as (file, temporary):
        # The byte order mark makes spreadsheets read UTF-8.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        writer = csv.writer(text)
        writer.writerow(PRODUCT_COLUMNS + OTHER_COLUMNS)
        for reason, detail, number, start, end, raw in _rejects(connection, delivery_id):
            whole = len(raw) == end - start
            product = _product(raw, dialect) if whole and dialect else _NOTHING
            if reason not in _REJECTED_AGAIN:
                product = ("", *product[1:])
            record = raw.decode("utf-8", "replace")
            others = [reason, detail, number, start, end, record, delivery_id, key]
            writer.writerow([_harmless(cell) for cell in (*product, *others)])
            rows += 1
            escaped += sum(_harmless(cell) != cell for cell in product)
        text.flush()
        file.flush()
        kept = path.exists() and not cmp(temporary, path, shallow=False)
        if not kept:
            commit_file(file, temporary, path)
        text.detach()
    return RejectsFile(
        path,
        key,
        delivery_id,
        delivery["source"],
        needs_attention,
        delivery["status"] == Status.REFUSED,
        rows,
        escaped,
        kept,
    )


def _rejects(
    connection: duckdb.DuckDBPyConnection, delivery_id: str
) -> Iterator[tuple[str, str, int, int, int, bytes]]:
    page = {"delivery_id": delivery_id, "after": 0, "limit": _PAGE_ROWS}
    while rows := connection.execute(_REJECTS, page).fetchall():
        yield from rows
        page["after"] = rows[-1][2]


def _product(raw: bytes, dialect: Dialect) -> tuple[str, str, str]:
    """Return sku, name and description of a record.

    All three are empty if the record has too few or too many values, or a misplaced quote, since
    the fields cannot be separated then.
    """
    grammar = dialect.grammar()
    good = grammar.good_record(raw, 0)
    if good is None or good[1] < len(raw):
        return _NOTHING
    values = grammar.values(raw[: good[0]])
    values += [""] * (dialect.form.width - len(values))
    sku, name, description = (values[dialect.columns.positions[name]] for name in PRODUCT_COLUMNS)
    return sku.strip(), name.strip(), description


def _harmless(cell: Any) -> Any:  # noqa: ANN401 (a text or a number)
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS)
    return _NO_FORMULA + cell if is_formula else cell


_WITHOUT_DIALECT = (
    *(KeyError, OSError),
    *(LandingError, RawFileError, DeliveryRefusedError, ReadingTimeoutError),
)


def _dialect(engine: Engine, key: str, delivery_id: str) -> Dialect | None:
    """Return the dialect of a delivery, or None if it is not in the raw zone or has no header."""
    try:
        deliveries = {found.delivery_id: found for found in engine.raw_zone.deliveries(key)}
        with engine.raw_zone.verified(delivery := deliveries[delivery_id]):
            return _dialect_of_file(delivery, ReadOptions.of(engine.settings))
    except _WITHOUT_DIALECT:
        return None


def _dialect_of_file(delivery: Delivery, options: ReadOptions) -> Dialect | None:
    """Return the dialect of a file, or None for a zip whose files have different dialects."""
    text_format = delivery.text_format
    has_header = header_check(text_format, options)
    with closing(contents(delivery.path, options.max_unpacked_bytes, has_header)) as several:
        first, *others = [_dialect_of(text.pieces, text_format, options) for text in several]
    found = first.delimiter, first.columns
    return first if all((other.delimiter, other.columns) == found for other in others) else None


def _dialect_of(pieces: Iterator[bytes], text_format: TextFormat, options: ReadOptions) -> Dialect:
    head, pieces = peek(pieces, HEAD_BYTES)
    found, fallback = encoding_by_head(head, text_format), options.fallback_encoding
    if not found.certain and (text_format.charset or fallback):
        counts = beyond_ascii_in(pieces)
        found = other_encoding(head, counts, text_format.charset, fallback) or found
    mark_length = found.mark_length
    if found.codec != "utf-8":
        head, mark_length = b"".join(to_utf8([head[mark_length:]], found.codec)), 0
    return dialect_of_head(head[:HEAD_BYTES], mark_length, text_format.delimiter, options)
