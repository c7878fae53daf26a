"""Whether anything was lost: the tables beside the truth about all that was delivered."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from lfp_pipeline.raw_zone.raw_zone import RawZone
from testing.engine import TABLES
from testing.expected_tables import File, expected_products
from verification.soak.versions import Version

_LEDGER = """
SELECT delivery_id, status, rows_read, rows_rejected, rows_superseded,
    rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_stale + rows_rejected
FROM deliveries
"""

_SHOWN = 3
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (as times are in the tables: UTC, without a zone)


def problems(data: Path, versions: Mapping[str, Version], shops: Iterable[str]) -> list[str]:
    """What is wrong with the tables and the published ones; nothing, if nothing was lost.

    Args:
        data: the data folder.
        versions: what was dropped, by delivery id. Every one of them must be told of.
        shops: the feeds. What the raw zone holds of them was delivered.
    """
    truth = _Truth()
    truth.products = expected_products(truth.noted(_delivered(data, versions, shops)))
    truth.statuses |= {id_: "refused" for id_, version in versions.items() if version.is_broken}
    return [
        f"{path.relative_to(data)}: {problem}"
        for path in (data / "products.duckdb", data / "published" / "products.duckdb")
        for problem in truth.problems_of(path)
    ]


def _delivered(data: Path, versions: Mapping[str, Version], shops: Iterable[str]) -> Iterator[File]:
    """What is to be in the tables, one after the other: they need much memory."""
    for version in versions.values():
        if not version.is_broken:
            yield version.file()
    for shop in shops:
        yield from _deliveries_of(data, shop)


def _deliveries_of(data: Path, shop: str) -> Iterator[File]:
    for delivery in RawZone(data / "raw").deliveries(shop):
        text = delivery.path.read_bytes().decode()
        _, *rows = csv.reader(io.StringIO(text, newline=""))
        microseconds = (delivery.delivered_at - _EPOCH) // timedelta(microseconds=1)
        file = File(shop, microseconds, tuple(map(tuple, rows)))
        assert file.delivery_id == delivery.delivery_id, "The raw zone is not what the shop served."
        yield file


class _Truth:
    """What the tables must hold; files are noted while they go by."""

    def __init__(self) -> None:
        self.products: list[tuple[Any, ...]] = []
        self.statuses: dict[str, str] = {}
        self.accounts: dict[str, tuple[int, int, int]] = {}
        self.rejects: list[tuple[str, int]] = []

    def noted(self, files: Iterable[File]) -> Iterator[File]:
        for file in files:
            rejected = [
                (file.delivery_id, number)
                for number in range(1, len(file.rows) + 1)
                if number not in file.accepted
            ]
            self.rejects += rejected
            self.statuses[file.delivery_id] = "merged"
            superseded = len(file.accepted) - len(file.winners)
            self.accounts[file.delivery_id] = len(file.rows), len(rejected), superseded
            yield file

    def problems_of(self, database: Path) -> Iterator[str]:
        with duckdb.connect(database, read_only=True) as connection:
            found = {name: connection.execute(sql).fetchall() for name, sql in TABLES.items()}
            ledger = connection.execute(_LEDGER).fetchall()
        counts = Counter(product[1] for product in self.products)
        rejects = [row[:2] for row in found["rejected_rows"] if row[0] in self.accounts]
        yield from _differences("products", found["products"], self.products)
        yield from _differences("name_counts", found["name_counts"], counts.items())
        yield from _differences("rejected rows", rejects, self.rejects)
        yield from _differences("ledger", [row[:2] for row in ledger], self.statuses.items())
        for id_, status, read, rejected, superseded, of_all_fates in ledger:
            if read != of_all_fates:
                yield f"{id_}: {read} rows, but {of_all_fates} by fate"
            told = read, rejected, superseded
            if status == "merged" and told != self.accounts.get(id_):
                yield f"{id_}: rows, rejects, superseded are {told}, not {self.accounts.get(id_)}"


def _differences(
    what: str, found: Iterable[tuple[Any, ...]], true: Iterable[tuple[Any, ...]]
) -> Iterator[str]:
    missing, strange = Counter(true), Counter(found)
    missing.subtract(strange)
    for text, rows in (
        ("missing", [row for row, times in missing.items() if times > 0]),
        ("too much", [row for row, times in missing.items() if times < 0]),
    ):
        if rows:
            shown = "; ".join(repr(row) for row in sorted(rows, key=repr)[:_SHOWN])
            yield f"{what}: {len(rows)} {text}, such as {shown}"
