"""Compares the tables after a soak with the tables that all deliveries must give."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.raw_zone.raw_zone import RawZone
from testing.engine import TABLES
from testing.expected_tables import File, count_names, differences, expected_products
from testing.raw_folder import EPOCH
from verification.soak.versions import Version

_LEDGER = """
SELECT delivery_id, status, rows_read, rows_rejected, rows_superseded,
    rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_stale + rows_rejected
FROM deliveries
"""


def problems(data: Path, versions: Mapping[str, Version], shops: Iterable[str]) -> list[str]:
    """Return what is wrong with the tables and the published ones.

    The ledger must have the dropped versions. The deliveries of shops are taken from the raw zone.
    """
    expected = _Expected()
    expected.products = expected_products(expected.noting(_delivered(data, versions, shops)))
    expected.statuses |= {id_: "refused" for id_, version in versions.items() if version.is_broken}
    return [
        f"{path.relative_to(data)}: {problem}"
        for path in (data / "products.duckdb", data / "published" / "products.duckdb")
        for problem in expected.problems_of(path)
    ]


def _delivered(data: Path, versions: Mapping[str, Version], shops: Iterable[str]) -> Iterator[File]:
    """Yield the files that must be merged, one by one: together they would need much memory."""
    for version in versions.values():
        if not version.is_broken:
            yield version.file()
    for shop in shops:
        yield from _deliveries_of(data, shop)


def _deliveries_of(data: Path, shop: str) -> Iterator[File]:
    for delivery in RawZone(data / "raw").deliveries(shop):
        text = delivery.path.read_bytes().decode()
        _, *rows = csv.reader(io.StringIO(text, newline=""))
        microseconds = (delivery.delivered_at - EPOCH) // timedelta(microseconds=1)
        file = File(shop, microseconds, tuple(map(tuple, rows)))
        assert file.delivery_id == delivery.delivery_id, "The raw zone is not what the shop served."
        yield file


class _Expected:
    """The expected tables; all but the products are noted while files go by."""

    def __init__(self) -> None:
        self.products: list[tuple[Any, ...]] = []
        self.statuses: dict[str, str] = {}
        self.row_counts: dict[str, tuple[int, int, int]] = {}
        self.rejects: list[tuple[str, int]] = []

    def noting(self, files: Iterable[File]) -> Iterator[File]:
        for file in files:
            rejected = [
                (file.delivery_id, number)
                for number in range(1, len(file.rows) + 1)
                if number not in file.accepted
            ]
            self.rejects += rejected
            self.statuses[file.delivery_id] = "merged"
            superseded = len(file.accepted) - len(file.winners)
            self.row_counts[file.delivery_id] = len(file.rows), len(rejected), superseded
            yield file

    def problems_of(self, database: Path) -> Iterator[str]:
        with duckdb.connect(database, read_only=True) as connection:
            found = {name: connection.execute(sql).fetchall() for name, sql in TABLES.items()}
            ledger = connection.execute(_LEDGER).fetchall()
        rejects = [row[:2] for row in found["rejected_rows"] if row[0] in self.row_counts]
        yield from differences("products", found["products"], self.products)
        yield from differences("name_counts", found["name_counts"], count_names(self.products))
        yield from differences("rejected rows", rejects, self.rejects)
        yield from differences("ledger", [row[:2] for row in ledger], self.statuses.items())
        for id_, status, read, rejected, superseded, total in ledger:
            if read != total:
                yield f"{id_}: {read} rows, but {total} by what became of them"
            counts, expected = (read, rejected, superseded), self.row_counts.get(id_)
            if status == "merged" and counts != expected:
                yield f"{id_}: rows, rejects, superseded are {counts}, not {expected}"
