"""Reads bytes as a delivery, and tells what the oracle expects of them."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from unicodedata import category

import duckdb

from lfp_pipeline.landing.delivery import Delivery, TextFormat
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import Reading, read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from lfp_pipeline_tests.reading.oracle import Oracle

HEADER = ("name", "sku", "description")

SPACES = "".join(mark for mark in map(chr, range(0x3001)) if category(mark) == "Zs")
"""What SQL trims."""
THEN = datetime(2026, 11, 20, 8, 19, 52, 123456)  # noqa: DTZ001 (UTC without a zone)

NOTHING_KNOWN = TextFormat()

Row = tuple[int, str, str, str]
Rejected = tuple[int, int, int, str, bytes]


@dataclass(frozen=True)
class Contents:
    """What is in a file: its number of records, its winners in order, its rejects in order.

    Attributes:
        rows_read: records, rejects included.
        winners: row number, sku, name, description.
        rejects: row number, first byte, byte after the last, reason, bytes.
    """

    rows_read: int
    winners: list[Row]
    rejects: list[Rejected]

    @property
    def products(self) -> list[tuple[str, str, str]]:
        return [row[1:] for row in self.winners]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(reject[0], reject[3]) for reject in self.rejects]


@dataclass(frozen=True)
class FileRead(Contents):
    """What the reader found, and how.

    Attributes:
        superseded: accepted rows that a later one replaces.
        mended: whether it took a mended copy.
        ignored: the columns that are not taken in.
        notes: what is said of how it was read.
    """

    superseded: int
    mended: bool
    ignored: list[str]
    notes: list[str]

    @property
    def contents(self) -> Contents:
        return Contents(self.rows_read, self.winners, self.rejects)


def settings(folder: Path, **others: object) -> Settings:
    return Settings(data_dir=folder, **others)  # type: ignore[arg-type]


def read(
    data: bytes, *, threads: int = 2, text_format: TextFormat = NOTHING_KNOWN, **others: object
) -> FileRead:
    """Read a delivery of these bytes, with these settings, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delivery.raw"
        path.write_bytes(data)
        return read_file(path, threads=threads, text_format=text_format, **others)


def delivery_at(path: Path, text_format: TextFormat = NOTHING_KNOWN) -> Delivery:
    return Delivery(
        partition_key="products.csv",
        delivered_at=THEN,
        sha256=hashlib.sha256().hexdigest(),
        source="test",
        size_bytes=path.stat().st_size,
        landed_at=THEN,
        path=path,
        text_format=text_format,
    )


@contextmanager
def reading(
    delivery: Delivery, chosen: Settings, *, threads: int = 2
) -> Iterator[tuple[Reading, duckdb.DuckDBPyConnection]]:
    """Read a delivery into a workspace that lasts as long as the block."""
    folders = [chosen.data_dir, chosen.raw_dir, chosen.database_path.resolve().parent]
    limits = WorkspaceLimits(threads, "1GB")
    with open_workspace(folders, chosen.work_dir, limits) as workspace:
        folder, connection = workspace.folder, workspace.connection
        texts = plain_texts(delivery, folder, chosen)
        log = logging.getLogger(__name__)
        yield read_delivery(delivery, texts, connection, folder, chosen, log), connection


def read_file(
    path: Path, *, threads: int = 2, text_format: TextFormat = NOTHING_KNOWN, **others: object
) -> FileRead:
    chosen = settings(path.parent, **others)
    delivery = delivery_at(path, text_format)
    with reading(delivery, chosen, threads=threads) as (read, connection):
        found = FileRead(
            rows_read=read.rows_read,
            winners=connection.execute(
                "SELECT row_number, sku, name, description FROM winners ORDER BY row_number"
            ).fetchall(),
            rejects=connection.execute(
                "SELECT row_number, byte_start, byte_end, reason, raw FROM rejects ORDER BY 1"
            ).fetchall(),
            superseded=read.rows_superseded,
            mended=read.mended,
            ignored=list(read.ignored_columns),
            notes=list(read.notes),
        )
        assert read.rows_rejected == len(found.rejects)
        assert found.rows_read == len(found.winners) + len(found.rejects) + found.superseded
        return found


def csv(*rows: Sequence[str], header: Sequence[str] = HEADER, newline: str = "\n") -> bytes:
    """Bare values, as they are."""
    return "".join(",".join(row) + newline for row in (header, *rows)).encode()


def expected(
    data: bytes, start: int, delimiter: str, header: Sequence[str], limit: int = 2_000_000
) -> Contents:
    """What the oracle finds in a file whose first record begins at `start`."""
    records = Oracle(data, delimiter, len(header), limit).records(start)
    assert_every_byte_is_accounted_for(data, start, [(r.start, r.end) for r in records])
    rejects: list[Rejected] = []
    last: dict[str, Row] = {}
    for number, record in enumerate(records, 1):
        reason = record.reason
        if record.values is not None:
            values = dict(zip(header, (value.decode() for value in record.values), strict=True))
            sku, name = values["sku"].strip(), values["name"].strip()
            row = (number, sku, name, values["description"])
            reason = _broken_rule(*row[1:])
            if not reason:
                last[sku] = row
        if reason:
            raw = data[record.start : record.end]
            rejects.append((number, record.start, record.end, reason, raw))
    return Contents(len(records), sorted(last.values()), rejects)


def _broken_rule(sku: str, name: str, description: str) -> str:
    if not sku:
        return "no sku"
    if not name:
        return "no name"
    if "\0" in sku + name + description:
        return "NUL byte"
    if (sku, name, description.strip(SPACES)) == ("sku", "name", "description"):
        return "repeated header"
    return ""


def assert_every_byte_is_accounted_for(
    data: bytes, start: int, places: Sequence[tuple[int, int]]
) -> None:
    """Records follow each other, in order, and between them is nothing but blank lines."""
    position = start
    for first, end in [*places, (len(data), len(data))]:
        assert position <= first <= end
        assert not data[position:first].strip(b"\r\n")
        position = end
