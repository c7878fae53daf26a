"""The truth about a history of deliveries, told by plain dicts, without a database."""

import csv
import hashlib
import io
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pytest
from hypothesis import strategies as st

from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest import batch_merge
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import RowCounts
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.reading.text_reader import SkippedLines
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile

LOG = logging.getLogger("test")

Row = tuple[str, ...]

TABLES = {
    "products": """
        SELECT sku, name, description, delivery_id, delivered_at, row_number FROM products
    """,
    "name_counts": "SELECT name, no_of_products FROM name_counts",
    "ledger": """
        SELECT delivery_id, partition_key, sha256, size_bytes, delivered_at, status, rows_read,
            rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_stale, rows_rejected
        FROM deliveries
    """,
    "rejected_rows": "SELECT delivery_id, row_number, reason FROM rejected_rows",
}


@dataclass(frozen=True)
class File:
    """One version of a source file: its partition, its time and its rows as (sku, name, ...).

    Attributes:
        microseconds: since 1970; the time that counts.
        stated: the modification time, where that is another one.
    """

    key: str
    microseconds: int
    rows: tuple[Row, ...]
    pack: Callable[[bytes], bytes] = bytes
    stated: int | None = None

    @cached_property
    def content(self) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows([("sku", "name", "description"), *self.rows])
        return self.pack(text.getvalue().encode())

    @property
    def stated_microseconds(self) -> int:
        return self.microseconds if self.stated is None else self.stated

    @cached_property
    def delivered_at(self) -> datetime:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return (epoch + timedelta(microseconds=self.microseconds)).replace(tzinfo=None)

    @cached_property
    def delivery_id(self) -> str:
        moment = self.delivered_at.strftime("%Y%m%dT%H%M%S.%fZ")
        return f"{self.key}#{moment}#{hashlib.sha256(self.content).hexdigest()[:16]}"

    @cached_property
    def records(self) -> dict[int, Row]:
        """The rows by their numbers, but for blank ones."""
        rows = enumerate(self.rows, 1)
        return {number: row for number, row in rows if any(cell.strip(" ") for cell in row)}

    @cached_property
    def accepted(self) -> dict[int, Row]:
        return {
            number: (row[0].strip(), row[1].strip(), row[2])
            for number, row in self.records.items()
            if len(row) == 3 and row[0].strip() and row[1].strip()
        }

    @cached_property
    def winners(self) -> dict[str, tuple[int, Row]]:
        return {row[0]: (number, row) for number, row in self.accepted.items()}

    @cached_property
    def reject_share(self) -> float:
        return 1 - len(self.accepted) / len(self.records) if self.records else 0.0


@dataclass(frozen=True)
class Deletion:
    """A delivery that deletes skus."""

    delivery_id: str
    delivered_at: datetime
    skus: frozenset[str]


def true_deletions(deletions: Iterable[Deletion]) -> list[tuple[Any, ...]]:
    """What the table `deletions` must hold: of each sku, who has deleted it last."""
    last: dict[str, tuple[datetime, str]] = {}
    for one in deletions:
        for sku in one.skus:
            age = (one.delivered_at, one.delivery_id)
            last[sku] = max(last.get(sku, age), age)
    return sorted((sku, id_, moment) for sku, (moment, id_) in last.items())


def true_products(
    files: Iterable[File], deletions: Iterable[Deletion] = ()
) -> list[tuple[Any, ...]]:
    """What `products` must hold after these files and deletions, in any order, sorted."""
    best: dict[str, tuple[Any, ...]] = {}
    for file in files:
        for sku, (number, row) in file.winners.items():
            found = (file.delivered_at, file.key, file.delivery_id, number, row)
            best[sku] = max(best.get(sku, found), found)
    deleted = {sku: (moment, id_) for sku, id_, moment in true_deletions(deletions)}
    return sorted(
        (*row, id_, moment, number)
        for sku, (moment, _, id_, number, row) in best.items()
        if sku not in deleted or (moment, id_) > deleted[sku]
    )


def true_counts(files: Iterable[File], deletions: Iterable[Deletion] = ()) -> list[tuple[str, int]]:
    """What `name_counts` must hold."""
    return sorted(Counter(product[1] for product in true_products(files, deletions)).items())


def true_rejects(files: Iterable[File]) -> list[tuple[str, int]]:
    """Delivery and row number of every row that is not accepted."""
    return sorted(
        (file.delivery_id, number)
        for file in set(files)
        for number in file.records
        if number not in file.accepted
    )


def true_row_counts(file: File, before: Iterable[File]) -> RowCounts:
    """The row counts of a file that is merged after others."""
    known = {product[0]: product for product in true_products(before)}
    counts = Counter[str]()
    for sku, (_, row) in file.winners.items():
        if sku not in known:
            counts["inserted"] += 1
        elif (known[sku][4], known[sku][3]) > (file.delivered_at, file.delivery_id):
            counts["stale"] += 1
        else:
            counts["unchanged" if known[sku][:3] == row else "updated"] += 1
    counts["superseded"] = len(file.accepted) - len(file.winners)
    counts["rejected"] = len(file.records) - len(file.accepted)
    counts["read"] = len(file.records)
    return RowCounts(**counts)


def engine_at(folder: Path, **settings: object) -> Engine:
    """An engine with a data folder of its own."""
    (folder / "inbox").mkdir(parents=True, exist_ok=True)
    defaults: dict[str, object] = {"threads": 2, "inbox_stable_seconds": 0, "max_reject_share": 1}
    values: dict[str, Any] = defaults | settings
    return Engine(Settings(data_dir=folder, **values))


def land(engine: Engine, file: File) -> Delivery:
    """Bring a file into the raw zone."""
    path = engine.settings.data_dir / f"landing-{os.getpid()}.csv"
    path.write_bytes(file.content)
    os.utime(path, ns=(file.stated_microseconds * 1000,) * 2)
    with _times_as_stated(engine, file):
        delivery = engine.land(LocalFile(path), file.key, LOG)
    assert delivery.delivery_id == file.delivery_id
    return delivery


@contextmanager
def _times_as_stated(engine: Engine, file: File) -> Iterator[None]:
    """Land a file as earlier versions did, where its time is one of the future, or of another."""
    moment, digest = file.delivery_id.split("#")[1:]
    others = (engine.settings.raw_dir / file.key).glob(f"{moment}-*.json")
    is_taken = any(not other.stem.endswith(digest) for other in others)
    is_ahead = file.stated_microseconds > time.time_ns() // 1000
    with ExitStack() as stack:
        if is_ahead or (is_taken and file.stated is None):
            told = mock.Mock(return_value=file.delivered_at)
            stack.enter_context(mock.patch.object(RawZone, "_time", told))
        yield


def read_with(monkeypatch: pytest.MonkeyPatch, skipped: SkippedLines, *notes: str) -> None:
    """Have every reading report these skipped lines and notes, whatever is in the file."""
    read_delivery = batch_merge.read_delivery

    def read(*arguments: Any) -> Reading:  # noqa: ANN401
        return replace(read_delivery(*arguments), skipped=skipped, notes=notes)

    monkeypatch.setattr(batch_merge, "read_delivery", read)


def catch_up(engine: Engine) -> None:
    """What ingest_inbox does with what has landed before."""
    list(engine.ingest_all([], engine.pending_deliveries(LOG), LOG))


def tables(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All tables, sorted."""
    with duckdb.connect(engine.warehouse.path, read_only=True) as connection:
        return tables_of(connection)


def tables_of(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """As above, over a connection to the database."""
    return {name: sorted(connection.execute(sql).fetchall()) for name, sql in TABLES.items()}


def assert_laws_hold(engine: Engine, files: Iterable[File]) -> None:
    """The tables are those of exactly these files; law 3 holds in every row of the ledger."""
    assert_tables_are_those_of(files, tables(engine))


def assert_tables_are_those_of(
    files: Iterable[File],
    found: Mapping[str, list[tuple[Any, ...]]],
    deletions: Iterable[Deletion] = (),
) -> None:
    """As above, of tables that were asked for before; the ledger's are the rows of files."""
    files = set(files)
    assert found["products"] == true_products(files, deletions)
    assert found["name_counts"] == true_counts(files, deletions)
    assert [row[:2] for row in found["rejected_rows"]] == true_rejects(files)
    ledger = {row[0]: row[5:] for row in found["ledger"]}
    assert len(ledger) == len(found["ledger"])
    assert ledger.keys() == {file.delivery_id for file in files}
    for file in files:
        status, rows_read, *fates = ledger[file.delivery_id]
        records = len(file.records)
        assert (status, rows_read, sum(fates)) == ("merged", records, records)
        assert fates[-1] == records - len(file.accepted)
        assert fates[3] == len(file.accepted) - len(file.winners)


_skus = st.sampled_from(["s1", "s2", "s3", "S1", " s2 ", "ß", ""])
_names = st.sampled_from(["Ann", "Bob", "ann", "Ann ", "Zoë", ""])
_descriptions = st.sampled_from(["", "x", " x", 'a "b", c', "two\nlines"])
_good_rows = st.tuples(_skus, _names, _descriptions)
_rows = st.one_of(*[_good_rows] * 6, st.sampled_from([("s1",), ("s1", "Ann", "x", "more")]))

files = st.builds(
    File,
    key=st.sampled_from(["a.csv", "a", "a-b.csv", "b.csv"]),
    microseconds=st.sampled_from([-1, 0, 1_000_001, 1_000_002]),
    rows=st.lists(_rows, max_size=8).map(tuple),
)
"""Small files that overlap in skus, names, times and partitions."""

histories = st.lists(files, min_size=1, max_size=5).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=len(some), max_size=len(some) + 2).map(
        lambda again: [*some, *again]
    )
)
"""Files in some order, some of them again."""
