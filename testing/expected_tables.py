"""The reference model: the tables that a set of deliveries must give, as plain dicts.

Tests, the histories, the crash campaigns, the fuzzing and the soak all compare with this model.
Nothing here imports the pipeline.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

Row = tuple[str, ...]
Winners = Mapping[str, tuple[int, Row]]
"""Of each sku, the number of its last accepted row, and that row."""

_EXAMPLES = 3

Order = tuple[datetime, str]
"""Time and id of a delivery: the greater is the newer."""


class Merged(Protocol):
    """What decides which rows of a merged delivery win."""

    @property
    def delivery_id(self) -> str: ...

    @property
    def delivered_at(self) -> datetime: ...

    @property
    def winners(self) -> Winners: ...


@dataclass(frozen=True)
class File:
    """One version of a source file: its partition, its time and its rows as (sku, name, ...).

    Attributes:
        microseconds: since 1970; the time that decides which version is newer.
        pack: how the text becomes the bytes that are delivered.
        stated: the modification time, where it differs from `microseconds`.
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

    @property
    def label(self) -> str:
        return f"{self.key}#{self.delivered_at:%Y%m%dT%H%M%S}"

    @cached_property
    def delivery_id(self) -> str:
        stamp = self.delivered_at.strftime("%Y%m%dT%H%M%S.%fZ")
        return f"{self.key}#{stamp}#{hashlib.sha256(self.content).hexdigest()[:16]}"

    @cached_property
    def records(self) -> dict[int, Row]:
        """The rows by their numbers, without the blank ones."""
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
    def winners(self) -> Winners:
        return {row[0]: (number, row) for number, row in self.accepted.items()}

    @cached_property
    def reject_share(self) -> float:
        return 1 - len(self.accepted) / len(self.records) if self.records else 0.0


@dataclass(frozen=True)
class MergedFile:
    """A delivery whose winners are known from elsewhere."""

    delivery_id: str
    delivered_at: datetime
    winners: Winners


@dataclass(frozen=True)
class Deletion:
    """A delivery that deletes skus: a purge."""

    delivery_id: str
    delivered_at: datetime
    skus: frozenset[str]


def order_of(delivery: Merged | Deletion) -> Order:
    """Return what deliveries are ordered by."""
    return delivery.delivered_at, delivery.delivery_id


def last_deletions(deletions: Iterable[Deletion]) -> dict[str, Order]:
    """Return the last deletion of each sku."""
    last: dict[str, Order] = {}
    for deletion in deletions:
        order = order_of(deletion)
        for sku in deletion.skus:
            last[sku] = max(last.get(sku, order), order)
    return last


def expected_deletions(deletions: Iterable[Deletion]) -> list[tuple[Any, ...]]:
    """Return the rows of `deletions`, sorted."""
    return sorted((sku, id_, time) for sku, (time, id_) in last_deletions(deletions).items())


def expected_products(
    files: Iterable[Merged], deletions: Iterable[Deletion] = ()
) -> list[tuple[Any, ...]]:
    """Return the rows of `products` after these files and deletions, in any order, sorted."""
    best: dict[str, tuple[Any, ...]] = {}
    for file in files:
        for sku, (number, row) in file.winners.items():
            found = (order_of(file), number, row)
            best[sku] = max(best.get(sku, found), found)
    deleted = last_deletions(deletions)
    return sorted(
        (*row, id_, time, number)
        for sku, ((time, id_), number, row) in best.items()
        if sku not in deleted or (time, id_) > deleted[sku]
    )


def count_names(products: Iterable[tuple[Any, ...]]) -> list[tuple[str, int]]:
    """Return the rows of `name_counts` beside these products, sorted."""
    return sorted(Counter(product[1] for product in products).items())


def expected_name_counts(
    files: Iterable[Merged], deletions: Iterable[Deletion] = ()
) -> list[tuple[str, int]]:
    """Return the rows of `name_counts` after these files and deletions, sorted."""
    return count_names(expected_products(files, deletions))


def expected_rejects(files: Iterable[File]) -> list[tuple[str, int]]:
    """Return the delivery id and row number of each reject, sorted."""
    return sorted(
        (file.delivery_id, number)
        for file in set(files)
        for number in file.records
        if number not in file.accepted
    )


def count_winners(
    file: Merged, products: Iterable[tuple[Any, ...]], deleted: Mapping[str, Order]
) -> Counter[str]:
    """Count the winners of an arriving file: `inserted`, `updated`, `unchanged` and `stale`.

    Args:
        file: the arriving file.
        products: rows of `products` before.
        deleted: the last deletion of each sku.
    """
    counts = Counter[str]()
    known = {product[0]: product for product in products}
    order = order_of(file)
    for sku, (_, row) in file.winners.items():
        present = known.get(sku)
        if max((present[4], present[3]) if present else order, deleted.get(sku, order)) > order:
            counts["stale"] += 1
        elif present is None:
            counts["inserted"] += 1
        else:
            counts["unchanged" if present[:3] == row else "updated"] += 1
    return counts


def expected_row_counts(file: File, before: Iterable[File]) -> Counter[str]:
    """Return the fields of the `RowCounts` of a file that is merged after others."""
    counts = count_winners(file, expected_products(before), {})
    counts["superseded"] = len(file.accepted) - len(file.winners)
    counts["rejected"] = len(file.records) - len(file.accepted)
    counts["read"] = len(file.records)
    return counts


def assert_tables_match(
    files: Iterable[File],
    found: Mapping[str, list[tuple[Any, ...]]],
    deletions: Iterable[Deletion] = (),
) -> None:
    """Assert that tables are those of these files and deletions.

    I1 to I5 of the design hold then: the rows of the ledger, which are those of files, too.
    `found` has the sorted rows by table, as `testing.engine.tables` returns them.
    """
    files = set(files)
    products = expected_products(files, deletions)
    assert found["products"] == products
    assert found["name_counts"] == count_names(products)
    assert [row[:2] for row in found["rejected_rows"]] == expected_rejects(files)
    ledger = {row[0]: row[5:] for row in found["ledger"]}
    assert len(ledger) == len(found["ledger"])
    assert ledger.keys() == {file.delivery_id for file in files}
    for file in files:
        status, rows_read, *counts = ledger[file.delivery_id]
        records = len(file.records)
        assert (status, rows_read, sum(counts)) == ("merged", records, records)
        assert counts[-1] == records - len(file.accepted)
        assert counts[3] == len(file.accepted) - len(file.winners)


def differences(
    what: str, found: Iterable[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]]
) -> Iterator[str]:
    """Yield how found rows differ from the expected ones, with examples."""
    missing = Counter(expected)
    missing.subtract(Counter(found))
    for text, rows in (
        ("missing", [row for row, times in missing.items() if times > 0]),
        ("too much", [row for row, times in missing.items() if times < 0]),
    ):
        if rows:
            shown = "; ".join(repr(row) for row in sorted(rows, key=repr)[:_EXAMPLES])
            yield f"{what}: {len(rows)} {text}, such as {shown}"
