"""Rejects: the records that are not accepted, with their place in the file, reason and bytes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from mmap import mmap
from typing import BinaryIO, NamedTuple

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.loading import LoadedFile
from lfp_pipeline.reading.records import RecordGrammar, mapped
from lfp_pipeline.reading.repair import BLANK_ROW, REPEATED_HEADER

RAW_BYTES_KEPT = 1 << 16
"""Most bytes of one rejected record that are kept; its place in the file leads to the rest."""

_BATCH = 1_000

_PLACEHOLDERS = """
SELECT rowid + 1, CAST(substr(sku, length($mark) + 1) AS BIGINT)
FROM rows WHERE starts_with(sku, $mark) AND sku NOT IN ($blank, $header)
ORDER BY rowid
"""

_SKIP_PLACEHOLDERS = """
INSERT INTO excluded SELECT rowid + 1 FROM rows WHERE sku IN ($blank, $header)
"""

_INSERT_REJECTS = """
INSERT INTO rejects
SELECT unnest($1::BIGINT[]), unnest($2::BIGINT[]), unnest($3::BIGINT[]),
    unnest($4::VARCHAR[]), unnest($5::VARCHAR[]), unnest($6::BLOB[])
"""

CREATE_REJECTS = """
CREATE OR REPLACE TABLE rejects (
    row_number BIGINT, byte_start BIGINT, byte_end BIGINT,
    reason VARCHAR, detail VARCHAR, raw BLOB
);
CREATE OR REPLACE TABLE excluded (row_number BIGINT)
"""


class Reject(NamedTuple):
    """A record that is not accepted: the bytes [byte_start, byte_end) of the text in UTF-8."""

    row_number: int
    byte_start: int
    byte_end: int
    reason: str
    detail: str
    raw: bytes


def unreadable_records(
    connection: duckdb.DuckDBPyConnection, loaded: LoadedFile
) -> Iterator[Reject]:
    """Yield the bad records, which have placeholders in `rows`; exclude the skipped ones there."""
    if loaded.repaired is None:
        return
    mark = loaded.repaired.mark
    skipped = {"blank": mark + BLANK_ROW, "header": mark + REPEATED_HEADER}
    connection.execute(_SKIP_PLACEHOLDERS, skipped)
    placeholders = connection.execute(_PLACEHOLDERS, skipped | {"mark": mark}).fetchall()
    with loaded.path.open("rb") as file:
        for row_number, index in placeholders:
            bad = loaded.repaired.bad_records[index]
            raw = _raw(file, bad.start, bad.end)
            yield Reject(row_number, bad.start, bad.end, bad.reason, bad.detail, raw)


def located(broken: Sequence[tuple[int, str, str]], loaded: LoadedFile) -> Iterator[Reject]:
    """Yield the rejects of rows that break a rule, with their places in the file.

    `broken` has the row number, the reason and the detail of each such row, in order.

    Raises:
        DeliveryRefusedError: a row is not where the grammar expects it.
    """
    if not broken:
        return
    path = loaded.repaired.path if loaded.repaired else loaded.path
    with mapped(path) as buffer, loaded.path.open("rb") as file:
        ranges = _byte_ranges(buffer, loaded, broken)
        for (row_number, reason, detail), found in zip(broken, ranges, strict=True):
            start, end = loaded.repaired.file_range(*found) if loaded.repaired else found
            yield Reject(row_number, start, end, reason, detail, _raw(file, start, end))


def _raw(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(end - start, RAW_BYTES_KEPT))


def _byte_ranges(
    buffer: mmap, loaded: LoadedFile, broken: Sequence[tuple[int, str, str]]
) -> Iterator[tuple[int, int]]:
    grammar = RecordGrammar(loaded.repaired.form) if loaded.repaired else loaded.dialect.grammar()
    boundary, next_number = (0, 0) if loaded.repaired else (loaded.dialect.body_start, 1)
    for row_number, _, _ in broken:
        skipped = grammar.skip(buffer, boundary, row_number - next_number)
        start = None if skipped is None else grammar.first_record_at(buffer, skipped)
        record = None if start is None else grammar.good_record(buffer, start)
        if start is None or record is None:
            msg = (
                f"Row {row_number} is not where it should be: the file cannot be read reliably. "
                "Write it again as plain CSV (RFC 4180)."
            )
            raise DeliveryRefusedError(msg)
        boundary, next_number = record[1], row_number + 1
        yield start, boundary


def insert_rejects(connection: duckdb.DuckDBPyConnection, rejects: Iterator[Reject]) -> int:
    """Insert rejects into their table, and exclude their rows; return the number of rejects."""
    inserted = 0
    while batch := list(islice(rejects, _BATCH)):
        columns = [list(column) for column in zip(*batch, strict=True)]
        connection.execute(_INSERT_REJECTS, columns)
        connection.execute("INSERT INTO excluded SELECT unnest($1::BIGINT[])", [columns[0]])
        inserted += len(batch)
    return inserted
