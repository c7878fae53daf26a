"""Reads bytes with the real reader, as one delivery."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import Reading, read_delivery
from lfp_pipeline.reading.workspace import Tables, WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from testing.csv_oracle.contents import Contents

HEADER = ("name", "sku", "description")

THEN = datetime(2026, 11, 20, 8, 19, 52, 123456)  # noqa: DTZ001 (UTC without a zone)

NOTHING_KNOWN = TextFormat()

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False

_WINNERS = "SELECT row_number, sku, name, description FROM winners ORDER BY row_number"
_REJECTS = "SELECT row_number, byte_start, byte_end, reason, raw FROM rejects ORDER BY row_number"


@dataclass(frozen=True)
class FileRead(Contents):
    """What the reader found, and how.

    Attributes:
        superseded: accepted rows that a later row of the file replaces.
        repaired: whether a repaired copy was read.
        ignored: the names of columns that are not products' columns.
        notes: on how the file was read.
    """

    superseded: int
    repaired: bool
    ignored: list[str]
    notes: list[str]

    @property
    def contents(self) -> Contents:
        return Contents(self.rows_read, self.winners, self.rejects, self.blank, self.headers)


def settings(folder: Path, **others: object) -> Settings:
    return Settings(data_dir=folder, **others)  # type: ignore[arg-type]


def options(**others: object) -> ReadOptions:
    return ReadOptions.of(settings(Path.cwd(), **others))


def read(
    data: bytes, *, threads: int = 2, text_format: TextFormat = NOTHING_KNOWN, **others: object
) -> FileRead:
    """Read a delivery of these bytes, with these settings, in a temporary folder."""
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
    delivery: Delivery, chosen: Settings, tables: Tables | None = None, *, threads: int = 2
) -> Iterator[tuple[Reading, duckdb.DuckDBPyConnection]]:
    """Read a delivery into a workspace that lasts as long as the block."""
    folders = [chosen.data_dir, chosen.raw_dir]
    limits = WorkspaceLimits(threads, "1GB")
    with open_workspace(folders, chosen.work_dir, limits, tables) as workspace:
        folder, connection = workspace.folder, workspace.connection
        log = logging.getLogger(__name__)
        yield read_into(connection, folder, delivery, ReadOptions.of(chosen), log), connection


def read_into(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    delivery: Delivery,
    options: ReadOptions,
    log: logging.Logger = QUIET,
) -> Reading:
    """Read a delivery into the tables of an open workspace."""
    texts = plain_texts(delivery, folder, options)
    return read_delivery(delivery, texts, connection, folder, options, log)


def contents_of(read: Reading, connection: duckdb.DuckDBPyConnection) -> Contents:
    """Return what was read into a workspace."""
    return Contents(
        rows_read=read.rows_read,
        winners=connection.execute(_WINNERS).fetchall(),
        rejects=connection.execute(_REJECTS).fetchall(),
        blank=read.skipped.blank,
        headers=read.skipped.repeated_headers,
    )


def read_file(
    path: Path, *, threads: int = 2, text_format: TextFormat = NOTHING_KNOWN, **others: object
) -> FileRead:
    chosen = settings(path.parent, **others)
    delivery = delivery_at(path, text_format)
    with reading(delivery, chosen, threads=threads) as (read, connection):
        found = FileRead(
            **vars(contents_of(read, connection)),
            superseded=read.rows_superseded,
            repaired=read.repaired,
            ignored=list(read.ignored_columns),
            notes=list(read.notes),
        )
        assert read.rows_rejected == len(found.rejects)
        assert found.rows_read == len(found.winners) + len(found.rejects) + found.superseded
        return found


def csv(*rows: Sequence[str], header: Sequence[str] = HEADER, newline: str = "\n") -> bytes:
    """Return a file of these values, none of them quoted."""
    return "".join(",".join(row) + newline for row in (header, *rows)).encode()
