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

from lfp_pipeline.model.delivery import Delivery, TextFormat
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.plain_text import plain_texts
from lfp_pipeline.reading.reader import Reading, read_delivery
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from testing.record_oracle import BLANKS, Oracle, bare_name, is_header

HEADER = ("name", "sku", "description")

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
        blank: lines without a value.
        headers: rows that repeat the header.
    """

    rows_read: int
    winners: list[Row]
    rejects: list[Rejected]
    blank: int
    headers: int

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
        repaired: whether a repaired copy was read.
        ignored: the columns that are not taken in.
        notes: what is said of how it was read.
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
        chosen_options = ReadOptions.of(chosen)
        texts = plain_texts(delivery, folder, chosen_options)
        log = logging.getLogger(__name__)
        found = read_delivery(delivery, texts, connection, folder, chosen_options, log)
        yield found, connection


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
            blank=read.skipped.blank,
            headers=read.skipped.repeated_headers,
            superseded=read.rows_superseded,
            repaired=read.repaired,
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
    data: bytes,
    start: int,
    delimiter: str,
    header: Sequence[str],
    limit: int = 2_000_000,
    *,
    require_all: bool = False,
    null_tokens: Sequence[str] = (),
) -> Contents:
    """What the oracle finds in a file whose first record begins at `start`.

    Raises:
        AnotherHeaderError: the file must be refused.
    """
    oracle = Oracle(data, start, delimiter, header, limit, require_all=require_all)
    records = oracle.records()
    assert_every_byte_is_accounted_for(data, start, [(r.start, r.end) for r in records])
    rejects: list[Rejected] = []
    last: dict[str, Row] = {}
    blank, headers = oracle.empty_lines(), 0
    for number, record in enumerate(records, 1):
        reason, skipped = record.reason, record.skipped
        if not reason and not skipped:
            values = [value.decode() for value in record.values]
            if oracle.habits.backslash:
                values = [value.replace("\\\\", "\\") for value in values]
            values = ["" if value in null_tokens else value for value in values]
            named = dict(zip(header, values, strict=False))
            sku, name = (clean(named[key], null_tokens) for key in ("sku", "name"))
            row = (number, sku, name, unwrapped(named["description"]))
            skipped = _skipped(row, record.values)
            reason = "" if skipped else _broken_rule(*row[1:], oracle.habits.bare_quotes)
            if not reason and not skipped:
                last[sku] = row
        blank += skipped == "blank"
        headers += skipped == "header"
        if reason:
            raw = data[record.start : record.end]
            rejects.append((number, record.start, record.end, reason, raw))
    rows = sum(1 for _ in records) - blank + oracle.empty_lines() - headers
    return Contents(rows, sorted(last.values()), rejects, blank, headers)


def _skipped(row: Row, values: Sequence[bytes]) -> str:
    if all(character in BLANKS for value in values for character in value.decode()):
        return "blank"
    return "header" if is_header([bare_name(value) for value in row[1:]]) else ""


def clean(value: str, null_tokens: Sequence[str] = ()) -> str:
    """A sku or name as it is stored."""
    value = _trimmed(unwrapped(_trimmed(value)))
    return "" if value in null_tokens else value


def _trimmed(value: str) -> str:
    ends = {*BLANKS, "\r", "\n"}
    while value and value[0] in ends:
        value = value[1:]
    while value and value[-1] in ends:
        value = value[:-1]
    return value


def unwrapped(value: str) -> str:
    """The text of a formula that is nothing but a text."""
    if len(value) > 2 and value.startswith('="') and value.endswith('"'):
        parts = value[2:-1].split('""')
        if not any('"' in part for part in parts):
            return '"'.join(parts)
    return value


def _broken_rule(sku: str, name: str, description: str, bare_quotes: bool) -> str:
    if not _has_text(sku):
        return "no sku"
    if not _has_text(name):
        return "no name"
    values = sku, name, description
    if bare_quotes and any(value[:2] == '="' and '"' not in value[2:] for value in values):
        return "stray quote"
    if "\0" in sku + name + description:
        return "NUL byte"
    return ""


def _has_text(value: str) -> bool:
    unseen = {*BLANKS, "\r", "\n", "\u2800", "\u3164", "\u115f", "\u1160", "\uffa0"}
    return any(
        character not in unseen
        and category(character) != "Cc"
        and not 0xFE00 <= ord(character) <= 0xFE0F
        and not 0xE0000 <= ord(character) <= 0xE0FFF
        for character in value
    )


def assert_every_byte_is_accounted_for(
    data: bytes, start: int, places: Sequence[tuple[int, int]]
) -> None:
    """Records follow each other, in order, and between them is nothing but blank lines."""
    position = start
    for first, end in [*places, (len(data), len(data))]:
        assert position <= first <= end
        assert not data[position:first].strip(b"\r\n")
        position = end
