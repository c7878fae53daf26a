"""Reads one delivery: its rows, its rejects, and the winner of every sku in it.

What the workspace holds of a delivery that was read:

    rows      every record of the file in order; rowid + 1 is the row number
    rejects   (row_number, byte_start, byte_end, reason, detail, raw)
    excluded  (row_number) of the rejects, and of rows that a later one of their sku supersedes
    winners   (row_number, sku, name, description) of the others: one row a sku
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.progress import heartbeat, megabytes, some_of
from lfp_pipeline.reading.loading import LoadedFile, dialect_of, load_rows
from lfp_pipeline.reading.members import gathering, naming
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import Elsewhere
from lfp_pipeline.reading.rejects import (
    CREATE_REJECTS,
    insert_rejects,
    located,
    unreadable_records,
)
from lfp_pipeline.reading.rules import broken_rules, exclude_superseded, trim_keys
from lfp_pipeline.reading.time_limit import TimeLimit
from lfp_pipeline.settings import Settings

MAX_COLUMNS_OF_MEMBERS = 100_000
"""The headers of the members of one zip may name so many columns, all together."""

_WINNERS = """
CREATE VIEW IF NOT EXISTS winners AS
SELECT rows.rowid + 1 AS row_number, sku, name, description
FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
"""

_COUNTS = "SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM rejects)"

_SAMPLE_PRODUCTS = """
SELECT sku, name, description
FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
WHERE rows.rowid < 1000
ORDER BY rows.rowid
LIMIT 5
"""

_SAMPLE_REJECTS = """
SELECT row_number, byte_start, byte_end, reason, detail, raw
FROM rejects ORDER BY row_number LIMIT 5
"""


@dataclass(frozen=True)
class SkippedLines:
    """Lines of a file that are neither rows nor rejects.

    Attributes:
        blank: empty lines, and rows of nothing but delimiters and white space.
        repeated_headers: rows that repeat the header.
        above_header: lines before the header, whatever is in them.
    """

    blank: int = 0
    repeated_headers: int = 0
    above_header: int = 0


@dataclass(frozen=True)
class Reading:
    """A delivery, read: its counts and samples. The workspace holds its rows.

    Attributes:
        delivery: what was read.
        rows_read: records in the file, rejects included.
        rows_rejected: those that are not accepted.
        rows_superseded: accepted rows that a later row of the same file replaces.
        ignored_columns: names in the header that are not taken in.
        mended: whether the file had to be mended to be read.
        seconds: what the reading took, from the plain text.
        sample_products: some of its rows: sku, name, description.
        sample_rejects: some rejects: row number, start and end byte, reason, detail, bytes.
        skipped: lines that are neither rows nor rejects.
        notes: what people should know of how the file was read, a sentence each.
    """

    delivery: Delivery
    rows_read: int
    rows_rejected: int
    rows_superseded: int
    ignored_columns: Sequence[str]
    mended: bool
    seconds: float
    sample_products: Sequence[tuple[str, str, str]]
    sample_rejects: Sequence[tuple[int, int, int, str, str, bytes]]
    skipped: SkippedLines = SkippedLines()
    notes: Sequence[str] = ()

    @property
    def reject_share(self) -> float:
        """Rejects among the records read, from 0 to 1."""
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0


def read_delivery(
    delivery: Delivery,
    texts: Sequence[PlainText],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    settings: Settings,
    log: logging.Logger,
) -> Reading:
    """Read a delivery into the workspace, in the place of the one that was read before.

    Args:
        delivery: what is read.
        texts: the same as plain text; the rows of several follow one another.
        connection: to the workspace.
        folder: for a mended or recoded copy.
        settings: rules and limits.
        log: for progress.

    Raises:
        DeliveryRefusedError: it cannot be read as products.
        ReadingTimeoutError: reading several texts takes too long.
    """
    started = time.perf_counter()
    what = f"Reading {delivery.partition_key} ({megabytes(delivery.size_bytes)})"

    def progress(seconds: float) -> str:
        percent = max(connection.query_progress(), 0)
        return f"{what}: {percent:.0f} % of the present step after {seconds:.0f} s"

    with heartbeat(log, progress):
        if len(texts) == 1:
            loaded = [_read_text(connection, texts[0], folder, settings, log, Elsewhere())]
        else:
            loaded = _read_members(connection, texts, folder, settings, log)
        ignored = dict.fromkeys(name for one in loaded for name in one.dialect.columns.ignored)
        mended = any(one.mended is not None for one in loaded)
        notes = _notes(texts, loaded)
        for note in notes:
            log.warning("%s: %s", delivery.partition_key, note)
        return choose_winners(connection, delivery, list(ignored), started, notes, mended=mended)


def forget_reading(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave nothing of a delivery that could not be read."""
    connection.execute(
        "CREATE OR REPLACE TABLE rows (sku VARCHAR, name VARCHAR, description VARCHAR)"
    )
    connection.execute(CREATE_REJECTS)
    connection.execute(_WINNERS)


def choose_winners(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    ignored_columns: Sequence[str],
    started: float,
    notes: Sequence[str] = (),
    *,
    mended: bool = False,
) -> Reading:
    """From `rows` and `rejects`, choose the winners, and sum up what was read since `started`."""
    superseded = exclude_superseded(connection)
    connection.execute(_WINNERS)
    rows, rejected = connection.execute(_COUNTS).fetchall()[0]
    return Reading(
        delivery=delivery,
        rows_read=rows,
        rows_rejected=rejected,
        rows_superseded=superseded,
        ignored_columns=ignored_columns,
        mended=mended,
        seconds=time.perf_counter() - started,
        sample_products=connection.execute(_SAMPLE_PRODUCTS).fetchall(),
        sample_rejects=connection.execute(_SAMPLE_REJECTS).fetchall() if rejected else [],
        notes=notes,
    )


def _read_text(
    connection: duckdb.DuckDBPyConnection,
    text: PlainText,
    folder: Path,
    settings: Settings,
    log: logging.Logger,
    elsewhere: Elsewhere,
) -> LoadedFile:
    with naming(text.name):
        loaded = load_rows(connection, text, folder, settings, log, elsewhere)
        connection.execute(CREATE_REJECTS)
        if not loaded.regular:
            trim_keys(connection)
            _exclude_rejects(connection, loaded)
    return loaded


def _read_members(
    connection: duckdb.DuckDBPyConnection,
    texts: Sequence[PlainText],
    folder: Path,
    settings: Settings,
    log: logging.Logger,
) -> list[LoadedFile]:
    """Each text is read for itself: nothing that is wrong in one can swallow rows of the next."""
    limit = TimeLimit(settings.max_archive_seconds)
    _check_columns(texts, settings, limit)
    loaded = []
    size_bytes = sum(text.path.stat().st_size for text in texts)
    with gathering(connection) as gathered:
        for text in texts:
            limit.check()
            elsewhere = Elsewhere(size_bytes - text.path.stat().st_size, gathered.rejects)
            with TemporaryDirectory(dir=folder) as own:
                one = _read_text(connection, text, Path(own), settings, log, elsewhere)
                gathered.append(text.name, one.path.stat().st_size)
            loaded.append(one)
    return loaded


def _notes(texts: Sequence[PlainText], loaded: Sequence[LoadedFile]) -> list[str]:
    """Return the notes of all texts; of several texts, each note once, with the names."""
    names: dict[str, list[str]] = {}
    for text, one in zip(texts, loaded, strict=True):
        for note in one.notes:
            names.setdefault(note, []).append(text.name)
    unpacking = [note for text in texts for note in text.unpacking_notes]
    if len(texts) == 1:
        return [*unpacking, *names]
    return [*unpacking, *(f"{some_of(named)}: {note}" for note, named in names.items())]


def _check_columns(texts: Sequence[PlainText], settings: Settings, limit: TimeLimit) -> None:
    """Refuse members with very many columns in all: a query with thousands takes a second."""
    columns = 0
    for text in texts:
        limit.check()
        with suppress(DeliveryRefusedError):  # Reading it says what is wrong with it.
            columns += len(dialect_of(text, settings).columns.header)
        if columns > MAX_COLUMNS_OF_MEMBERS:
            msg = (
                f"The files in the zip have more than {MAX_COLUMNS_OF_MEMBERS:,} columns in all. "
                "Deliver them in several zips."
            )
            raise DeliveryRefusedError(msg)


def _exclude_rejects(connection: duckdb.DuckDBPyConnection, loaded: LoadedFile) -> None:
    rejected = insert_rejects(connection, unreadable_records(connection, loaded))
    broken = broken_rules(connection, loaded.rules, loaded.limit, rejected)
    insert_rejects(connection, located(broken, loaded))
