"""Reading of one delivery: its rows, its rejects, and the winner of each sku.

Afterwards the workspace contains these tables:

    rows      every record of the file, in order; rowid + 1 is the row number
    rejects   (row_number, byte_start, byte_end, reason, detail, raw)
    excluded  (row_number) of the rejects, and of rows that a later row of their sku supersedes
    winners   (place, row_number, sku, name, description) of the other rows: one row for each sku;
              a place is a rowid of rows
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from lfp_pipeline.common.progress import Progress, announce, heartbeat
from lfp_pipeline.common.text import format_size, lfp_command, preview, printable
from lfp_pipeline.errors import TooManyRejectsError
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.partition_key import typed_name
from lfp_pipeline.reading.habits import NO_LAST_LINE_END
from lfp_pipeline.reading.multi_file import read_several
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import PlainText
from lfp_pipeline.reading.reject_limit import CUT_SHORT, CommonestReason, RejectLimit
from lfp_pipeline.reading.rejects import CREATE_REJECTS
from lfp_pipeline.reading.rules import exclude_superseded
from lfp_pipeline.reading.text_reader import SkippedLines, TextRead, read_text

_WINNERS = """
CREATE VIEW IF NOT EXISTS winners AS
SELECT rows.rowid AS place, rows.rowid + 1 AS row_number, sku, name, description
FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
"""

# Rows that are excluded before the rows of a sku are compared are rejected, or skipped.
_COUNTS = """
SELECT
    (SELECT count(*) FROM rows) - (SELECT count(*) FROM excluded) + (SELECT count(*) FROM rejects),
    (SELECT count(*) FROM rejects)
"""

_SAMPLE_PRODUCTS = """
SELECT sku, name, description
FROM rows ANTI JOIN excluded ON rows.rowid + 1 = excluded.row_number
WHERE rows.rowid < 1000
ORDER BY rows.rowid
LIMIT 5
"""

_COMMONEST_REASON = """
SELECT
    reason, count(*) AS times, (SELECT count(*) FROM rejects), min(row_number) AS first_number,
    arg_min(detail, row_number), arg_min(raw, row_number)
FROM rejects
GROUP BY reason
ORDER BY times DESC, first_number
LIMIT 1
"""

_ONLY_THE_LAST_IS_SHORT = """
SELECT count(*) = 1 AND max(row_number) = (SELECT count(*) FROM rows)
FROM rejects WHERE list_contains($reasons, reason)
"""

_SAMPLE_REJECTS = """
SELECT row_number, byte_start, byte_end, reason, detail, raw
FROM rejects ORDER BY row_number LIMIT 5
"""


@dataclass(frozen=True)
class Reading:
    """The counts and samples of a delivery that was read; the workspace contains its rows.

    Attributes:
        rows_read: number of records in the file, rejects included.
        rows_rejected: number of records that are not accepted.
        rows_superseded: number of accepted rows that a later row of the same file replaces.
        ignored_columns: names in the header that are not read.
        repaired: whether a repaired copy of the file was read.
        seconds: duration of the reading, without the unpacking.
        sample_products: some rows: sku, name, description.
        sample_rejects: some rejects: row number, start and end byte, reason, detail, bytes.
        notes: sentences for people about the reading.
        commonest_reason: of the rejects; None: there are none.
        is_regular: whether the delivery is one text, which was read without a repair, has a row for
            each of its lines, and quotes only around values and in quoted ones.
    """

    delivery: Delivery
    rows_read: int
    rows_rejected: int
    rows_superseded: int
    ignored_columns: Sequence[str]
    repaired: bool
    seconds: float
    sample_products: Sequence[tuple[str, str, str]]
    sample_rejects: Sequence[tuple[int, int, int, str, str, bytes]]
    skipped: SkippedLines = field(default_factory=SkippedLines)
    notes: Sequence[str] = ()
    commonest_reason: CommonestReason | None = None
    is_regular: bool = False

    @property
    def reject_share(self) -> float:
        """Share of rejects among the records, from 0 to 1."""
        return self.rows_rejected / self.rows_read if self.rows_read else 0.0


def read_delivery(
    delivery: Delivery,
    texts: Sequence[PlainText],
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    options: ReadOptions,
    log: logging.Logger,
) -> Reading:
    """Read a delivery into the workspace, and replace the delivery that was read before.

    The rows of its texts are concatenated. `folder` gets repaired or recoded copies.

    Raises:
        DeliveryRefusedError: the delivery cannot be read as products.
        ReadingTimeoutError: the reading of several texts takes too long.
    """
    started = time.perf_counter()
    what = f"Reading {delivery.partition_key} ({format_size(delivery.size_bytes)})"

    key, size = delivery.partition_key, delivery.size_bytes

    def percent() -> float:
        """Return the progress of the present query, whose number and order DuckDB decides."""
        return max(connection.query_progress(), 0)

    def message(seconds: float) -> str:
        return f"{what}: {percent():.0f} % of the present step after {seconds:.0f} s"

    def measure() -> Progress:
        return Progress(key, "reading", int(percent() * size / 100), size)

    with heartbeat(log, message, measure):
        if len(texts) == 1:
            limit = RejectLimit(options.max_reject_share)
            read = [read_text(connection, texts[0], folder, options, log, limit)]
        else:
            read = read_several(connection, texts, folder, options, log)
        reading = select_winners(connection, delivery, read, started)
    for note in reading.notes:
        log.warning("%s: %s", delivery.partition_key, printable(note))
    return reading


def check_reject_share(reading: Reading, max_share: float, *, kept: bool = True) -> None:
    """Refuse a delivery with a larger share of rejects than is accepted.

    `kept` says whether the table rejected_rows keeps the rejects of a refused delivery.

    Raises:
        TooManyRejectsError: the share is too large; with the commonest reason and a remedy.
    """
    commonest = reading.commonest_reason
    if commonest is None or reading.reject_share <= max_share:
        return
    msg = (
        f"{reading.rows_rejected:,} of {reading.rows_read:,} rows are rejected "
        f"({reading.reject_share:.1%}); more than {max_share:.1%} refuses the whole file (setting "
        f"LFP_MAX_REJECT_SHARE). {commonest}"
    )
    if kept:
        name = typed_name(reading.delivery.partition_key, reading.delivery.source)
        command = lfp_command("rejects", name)
        msg += f" All rejects are in rejected_rows; `{command}` writes them as CSV."
    raise TooManyRejectsError(msg + commonest.quoted_record, commonest.reason)


def clear_staging(connection: duckdb.DuckDBPyConnection) -> None:
    """Clear the workspace of a delivery that could not be read."""
    connection.execute(
        "CREATE OR REPLACE TABLE rows (sku VARCHAR, name VARCHAR, description VARCHAR)"
    )
    connection.execute(CREATE_REJECTS)
    connection.execute(_WINNERS)


def select_winners(
    connection: duckdb.DuckDBPyConnection,
    delivery: Delivery,
    read: Sequence[TextRead],
    started: float,
) -> Reading:
    """Choose the winners from `rows` and `rejects`, and return the counts and samples.

    The reading began at `started`, by `time.perf_counter`.
    """
    rows, rejected = connection.execute(_COUNTS).fetchall()[0]
    skipped = sum((text.skipped for text in read), SkippedLines())
    is_odd = any(text.repaired or text.has_bare_quotes or text.notes for text in read)
    superseded = exclude_superseded(connection)
    connection.execute(_WINNERS)
    size = delivery.size_bytes
    announce(Progress(delivery.partition_key, "reading", size, size, rows))
    return Reading(
        delivery=delivery,
        rows_read=rows,
        rows_rejected=rejected,
        rows_superseded=superseded,
        ignored_columns=list(dict.fromkeys(name for text in read for name in text.ignored_columns)),
        repaired=any(text.repaired for text in read),
        seconds=time.perf_counter() - started,
        sample_products=connection.execute(_SAMPLE_PRODUCTS).fetchall(),
        sample_rejects=connection.execute(_SAMPLE_REJECTS).fetchall() if rejected else [],
        commonest_reason=_commonest_reason(connection, read) if rejected else None,
        skipped=skipped,
        notes=_notes(read),
        is_regular=len(read) == 1 and not (rejected or is_odd or skipped != SkippedLines()),
    )


def _commonest_reason(
    connection: duckdb.DuckDBPyConnection, read: Sequence[TextRead]
) -> CommonestReason:
    found = connection.execute(_COMMONEST_REASON).fetchall()[0]
    reason, count, rejects, number, detail, raw = found
    cut_off = NO_LAST_LINE_END in read[-1].notes and bool(
        connection.execute(_ONLY_THE_LAST_IS_SHORT, {"reasons": CUT_SHORT}).fetchall()[0][0]
    )
    return CommonestReason(reason, count, rejects, f"row {number}", detail, raw, cut_off)


def _notes(read: Sequence[TextRead]) -> list[str]:
    """Return the notes of all texts; for several texts, each note once, with their names."""
    names: dict[str, list[str]] = {}
    for text_read in read:
        for note in text_read.notes:
            names.setdefault(note, []).append(text_read.text.name)
    unpacking = [note for text_read in read for note in text_read.text.unpacking_notes]
    if len(read) == 1:
        return [*unpacking, *names]
    return [*unpacking, *(f"{preview(named)}: {note}" for note, named in names.items())]
